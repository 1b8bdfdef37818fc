"""Checks of argument types: an error names the argument, the type that was given and what is expected."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from tfhub_ft.utils.errors import InputError

PATH = "a path (str or Path)"


def type_name(value: Any) -> str:
    """The type of a value with its article, such as "a DataFrame"; None and NaN by name."""
    if value is None:
        return "None"
    if isinstance(value, float) and value != value:
        return "NaN (a float)"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def check_type(argument: str, value: Any, types: type | tuple[type, ...], expected: str) -> Any:
    """Return a value of one of these types; a bool is not an int here.

    Raises:
        InputError: it is of another type.
    """
    is_flag = isinstance(value, bool) and bool not in (types if isinstance(types, tuple) else (types,))
    if is_flag or not isinstance(value, types):
        raise InputError(f"{argument}: is {type_name(value)}; expected {expected}")
    return value


def check_path(argument: str, value: Any, expected: str = PATH) -> Path:
    """Return a path given as a str or a Path.

    Raises:
        InputError: it is of another type, or holds a NUL character.
    """
    return Path(check_no_nul(argument, check_type(argument, value, (str, os.PathLike), expected)))


def check_no_nul(argument: str, value: Any) -> Any:
    """Return a str or a path unchanged.

    Raises:
        InputError: it holds a NUL character, which no path may.
    """
    if "\0" in str(value):
        raise InputError(f"{argument}: {str(value)!r} holds a NUL character; remove it")
    return value


def check_names(argument: str, value: Any) -> tuple[str, ...]:
    """Return several names, given as a sequence of str or as one str with commas between them.

    Raises:
        InputError: they are of another type.
    """
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(","))
    check_type(argument, value, Sequence, "a list of str")
    return tuple(check_type(argument, name, str, "a list of str") for name in value)


def check_texts(argument: str, texts: Any) -> list[Any]:
    """Return texts as a list: one text for a str, else the elements of a list, an array, a Series, a generator ...

    Args:
        argument: its name.
        texts: the texts. Their elements are not checked.

    Raises:
        InputError: they are a table, a mapping, a set or something else that does not list texts.
    """
    # Tensors of TensorFlow.
    if hasattr(texts, "numpy") and hasattr(texts, "dtype"):
        texts = texts.numpy()
    if isinstance(texts, str | bytes):
        return [texts]
    if getattr(texts, "shape", None) == ():
        return [texts.item()]
    is_table = hasattr(texts, "columns") or isinstance(texts, Mapping | Set | os.PathLike)
    if is_table or not isinstance(texts, Iterable):
        raise InputError(
            f"{argument}: is {type_name(texts)}; expected a str or a list of str (of pairs for a model of pairs)"
        )
    return list(texts)


def plain_text(value: Any) -> Any:
    """A str for a text of NumPy or TensorFlow, or for UTF-8 bytes; a tuple for several; other values unchanged.

    Raises:
        UnicodeError: it is bytes that are not UTF-8, or holds a lone surrogate.
    """
    if hasattr(value, "numpy") and hasattr(value, "dtype"):
        value = value.numpy()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(map(plain_text, value))
    if isinstance(value, str):
        # A lone surrogate is not text.
        value.encode()
    return value.decode() if isinstance(value, bytes) else value
