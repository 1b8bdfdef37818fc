"""Checks of argument types, with errors that name the argument."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.remote import as_path

T = TypeVar("T")


def type_name(value: object) -> str:
    """Return the type of a value with its article, such as "a DataFrame"; None and NaN by name."""
    if value is None:
        return "None"
    if isinstance(value, float) and value != value:
        return "NaN (a float)"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def check_type(argument: str, value: Any, types: type[T] | tuple[type[T], ...], expected: str) -> T:
    """Return a value of one of these types, where a bool is not an int; raise an InputError for others."""
    classes: tuple[type[T], ...] = types if isinstance(types, tuple) else (types,)
    if isinstance(value, classes) and (bool in classes or not isinstance(value, bool)):
        return value
    raise InputError(f"{argument}: expected {expected}, got {type_name(value)}")


def check_path(argument: str, value: object, expected: str = "a path (str or Path)") -> Path:
    """Return a path given as a str or a Path, also of a URL; raise an InputError for others and for NUL characters."""
    return as_path(check_no_nul(argument, check_type(argument, value, (str, os.PathLike), expected)))


def check_no_nul(argument: str, value: T) -> T:
    """Return a str or a path unchanged; raise an InputError if it contains a NUL character, which no path may."""
    if "\0" in str(value):
        raise InputError(f"{argument}: {str(value)!r} contains a NUL character; remove it")
    return value


def check_names(argument: str, value: object) -> tuple[str, ...]:
    """Return names given as a sequence of str or as a comma-separated str; raise an InputError for others."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(","))
    names = check_type(argument, value, Sequence, "a list of str")
    return tuple(check_type(argument, name, str, "a list of str") for name in names)


def check_texts(argument: str, texts: Any) -> list[Any]:
    """Return texts as a list: one for a str, otherwise the elements of a list, array, Series, tensor or generator.

    Raises:
        InputError: The value is a table, a mapping, a set or not iterable.
    """
    if hasattr(texts, "numpy") and hasattr(texts, "dtype"):
        texts = texts.numpy()
    if isinstance(texts, str | bytes):
        return [texts]
    if getattr(texts, "shape", None) == ():
        return [texts.item()]
    if hasattr(texts, "to_pylist"):
        return texts.to_pylist()
    is_table = hasattr(texts, "columns") or isinstance(texts, Mapping | Set | os.PathLike)
    if is_table or not isinstance(texts, Iterable):
        raise InputError(
            f"{argument}: expected a str or a list of str (of pairs for a model of pairs), got {type_name(texts)}"
        )
    return list(texts)


def plain_text(value: Any) -> Any:
    """Return a str for a text of NumPy or TensorFlow or UTF-8 bytes, a tuple for several; other values unchanged.

    Raises:
        UnicodeError: Bytes are not UTF-8, or a str contains a lone surrogate.
    """
    if hasattr(value, "numpy") and hasattr(value, "dtype"):
        value = value.numpy()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(map(plain_text, value))
    if isinstance(value, str):
        # Raises an error for a lone surrogate.
        value.encode()
    return value.decode() if isinstance(value, bytes) else value
