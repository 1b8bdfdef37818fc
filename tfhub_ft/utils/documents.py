"""Read small JSON and YAML files within limits, and check their structure.

Runs, exports and --config files may come from others: file size, nesting depth and YAML aliases are limited.
"""

import json
from collections import Counter
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from tfhub_ft.utils.errors import InputError

MAX_BYTES, MAX_DEPTH, MAX_ALIASES = 2**26, 32, 16


def read_json(path: Path, shape: object = object) -> Any:
    """Read a JSON file of this shape (see `check_shape`); raise an InputError for others."""
    return _read(path, json.loads, shape)


def read_yaml(path: Path, shape: object = object) -> Any:
    """Read a YAML file of this shape (see `check_shape`); raise an InputError for others. An empty file is None."""
    return _read(path, _parse_yaml, shape)


def parse_json(content: str | bytes, shape: object = object, parse: Callable[..., Any] = json.loads) -> Any:
    """Parse JSON of this shape (see `check_shape`); raise a ValueError for others."""
    try:
        value = parse(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_shape(value, shape)
    return value


def check_shape(value: Any, shape: Any, name: str = "the content") -> None:
    """Raise a ValueError that names the value unless it has a shape.

    A shape is a type or a tuple of types; [shape] for a list, {str: shape} for a mapping with any names, or {"name":
    shape} for a mapping with at least these names. A bool is not a number, an int is a float.
    """
    if isinstance(shape, list):
        _check_type(value, list, name)
        for number, each in enumerate(value, 1):
            check_shape(each, shape[0], f"entry {number} of {name}")
    elif isinstance(shape, dict):
        _check_type(value, dict, name)
        shapes = dict.fromkeys(value, shape[str]) if str in shape else shape
        for key, inner in shapes.items():
            if key not in value:
                raise ValueError(f"{name} lacks {key!r}")
            check_shape(value[key], inner, f"{key!r} of {name}")
    else:
        _check_type(value, shape, name)


def check_distinct(labels: list[str]) -> list[str]:
    """Return labels; raise a ValueError if one is empty or repeated."""
    for label, count in Counter(labels).items():
        if not label.strip():
            raise ValueError("a label is empty")
        if count > 1:
            raise ValueError(f"the label {label!r} is repeated")
    return labels


def _check_type(value: Any, types: Any, name: str) -> None:
    types = types if isinstance(types, tuple) else (types,)
    allowed = (*types, int) if float in types else types
    if isinstance(value, bool) and bool not in types and object not in types:
        allowed = ()
    if not isinstance(value, allowed):
        expected = " or ".join(each.__name__ for each in types)
        raise ValueError(f"{name}: expected {expected}, got {type(value).__name__}")


def _read(path: Path, parse: Callable[[str], Any], shape: object) -> Any:
    import yaml

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes, more than {MAX_BYTES:,}")
        return parse_json(path.read_text(encoding="utf-8"), shape, parse)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    # ValueError: also for bytes that are not UTF-8, numbers of thousands of digits and dates that do not exist.
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None


def _parse_yaml(text: str) -> Any:
    import yaml

    class LimitedLoader(yaml.SafeLoader):
        depth = aliases = 0

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            self.aliases += self.check_event(yaml.AliasEvent)
            if self.aliases > MAX_ALIASES:
                raise yaml.YAMLError(f"it has more than {MAX_ALIASES} aliases")
            if self.depth >= MAX_DEPTH:
                raise yaml.YAMLError("it is nested too deeply")
            self.depth += 1
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if repeated := [key for key, count in keys.items() if count > 1]:
                raise yaml.YAMLError(f"{repeated[0]!r} is repeated")
            return super().construct_mapping(node, deep)

    return yaml.load(text, LimitedLoader)  # noqa: S506  a SafeLoader
