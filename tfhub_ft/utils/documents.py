"""Small JSON and YAML files, read within limits and checked for what they must hold.

A run, an export and a --config file may come from anybody: each of them is read whole, so that its size, its depth and
the aliases of YAML are limited.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tfhub_ft.utils.errors import InputError

MOST_BYTES, MOST_DEPTH, MOST_ALIASES = 2**26, 32, 16


def read_json(path: Path, shape: Any = object) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        shape: what it must hold, as for `check_shape`.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    return _read(path, parse_json, shape)


def read_yaml(path: Path, shape: Any = object) -> Any:
    """Read a YAML file, whose aliases are few; an empty one is None.

    Args:
        path: the file.
        shape: what it must hold, as for `check_shape`.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    return _read(path, _parse_yaml, shape)


def parse_json(content: str | bytes, shape: Any = object) -> Any:
    """Parse JSON that stands in another file.

    Args:
        content: the JSON; bytes are UTF-8.
        shape: what it must hold, as for `check_shape`.

    Raises:
        ValueError: it is not JSON, or holds something else.
    """
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_shape(value, shape)
    return value


def check_shape(value: Any, shape: Any, name: str = "the content") -> None:
    """Check what a document holds.

    Args:
        value: the content.
        shape: a type or a tuple of types; [shape] for a list, {str: shape} for a mapping with any names, or {"name":
            shape} for a mapping that has at least these names. A bool is no number, and a whole number is a float.
        name: how errors name the value.

    Raises:
        ValueError: it holds something else.
    """
    if isinstance(shape, list):
        _check_type(value, list, name)
        for number, each in enumerate(value, 1):
            check_shape(each, shape[0], f"entry {number} of {name}")
    elif isinstance(shape, dict):
        _check_type(value, dict, name)
        wanted = dict.fromkeys(value, shape[str]) if str in shape else shape
        for each, inner in wanted.items():
            if each not in value:
                raise ValueError(f"{name} has no {each!r}")
            check_shape(value[each], inner, f"{each!r} of {name}")
    else:
        _check_type(value, shape, name)


def check_distinct(labels: list[str]) -> list[str]:
    """Return labels, each of which must be there once and not be empty.

    Raises:
        ValueError: one is empty or there twice.
    """
    for label, times in Counter(labels).items():
        if not label.strip():
            raise ValueError("a label is empty")
        if times > 1:
            raise ValueError(f"the label {label!r} is there twice")
    return labels


def _check_type(value: Any, types: Any, name: str) -> None:
    types = types if isinstance(types, tuple) else (types,)
    allowed = (*types, int) if float in types else types
    if isinstance(value, bool) and bool not in types and object not in types:
        allowed = ()
    if not isinstance(value, allowed):
        expected = " or ".join(each.__name__ for each in types)
        raise ValueError(f"{name} is of type {type(value).__name__}; expected {expected}")


def _read(path: Path, parse: Any, shape: Any) -> Any:
    import yaml

    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(f"it has {size:,} bytes, more than {MOST_BYTES:,}")
        return parse(path.read_text(encoding="utf-8"), shape)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    # ValueError: also of bytes that are not UTF-8, of numbers of thousands of digits and of dates that do not exist.
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())})") from None


def _parse_yaml(text: str, shape: Any) -> Any:
    import yaml

    class Limited(yaml.SafeLoader):
        depth = aliases = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.aliases += self.check_event(yaml.AliasEvent)
            if self.aliases > MOST_ALIASES:
                raise yaml.YAMLError(f"it has more than {MOST_ALIASES} aliases")
            if self.depth >= MOST_DEPTH:
                raise yaml.YAMLError("it is nested too deeply")
            self.depth += 1
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := [key for key, times in Counter(keys).items() if times > 1]:
                raise yaml.YAMLError(f"{twice[0]!r} is there twice")
            return super().construct_mapping(node, deep)

    value = yaml.load(text, Limited)  # noqa: S506  a SafeLoader
    check_shape(value, shape)
    return value
