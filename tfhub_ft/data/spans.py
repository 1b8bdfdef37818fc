"""Entities as spans of characters, and the tags of words that they become."""

import ast
import contextlib
import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tfhub_ft.data.columns import Values, check_label, is_missing, kind_of
from tfhub_ft.data.tags import FIRST, OUTSIDE

ENTITIES_ALIASES = ("spans", "ents", "label", "labels", "annotations")
LAYOUTS = 'write [[start, end, label], ...] or [{"start": ..., "end": ..., "label": ...}, ...]'
_STARTS, _ENDS = ("start", "start_offset"), ("end", "end_offset")
_LABELS, _TEXTS = ("label", "labels", "entity_group", "type"), ("text", "word")

# The words of `encoders.window_preprocessor`, into which predictions split a text. Letters except those of "https" are
# written "a", spaces " ", and signs without a role in words "?".
_WORD = re.compile(r"https?://[^ ]+|[@#]?[ahtps_]+(?:[-.&/][ahtps]+)*|['’][ahtps]+|[^ ]")
_KEPT_SIGNS = "https_@#-.&/'’:"
_HAN = (
    *((0x2E80, 0x2E99), (0x2E9B, 0x2EF3), (0x2F00, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029)),
    *((0x3038, 0x303B), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFA6D), (0xFA70, 0xFAD9), (0x16FE2, 0x16FE3)),
    *((0x16FF0, 0x16FF1), (0x20000, 0x2EBE0), (0x2EBF0, 0x2EE5D), (0x2F800, 0x2FA1D), (0x30000, 0x323AF)),
)


class Span(NamedTuple):
    """An entity: its first character, the one after its last, its label and, if a program wrote it, its text."""

    start: int
    end: int
    label: str
    text: str | None = None


def check_entities(value: Any) -> list[Span]:
    """Return the entities of a text, in order and without repetitions; their characters are not checked.

    The value is a list of [start, end, label], or of objects as spaCy, doccano, Label Studio, Prodigy, Hugging Face's
    pipelines and `tfhub-ft predict` write them, or a cell of a table with such a list as JSON or Python.
    """
    if isinstance(value, str) and value.strip():
        value = _parse_cell(value.strip())
    if is_missing(value):
        raise ValueError(f"is {kind_of(value) if value is None else 'empty'}; write [] for a text without entities")
    if not isinstance(value, list):
        raise ValueError(f"is {kind_of(value)}, not a list of entities; {LAYOUTS}")
    spans = []
    for number, entity in enumerate(value, 1):
        try:
            spans.append(_check_entity(entity))
        except ValueError as error:
            raise ValueError(f"has an entity, number {number}, {error}") from None
    return sorted(set(spans), key=lambda span: span[:3])


def _parse_cell(cell: str) -> object:
    # predict writes the entities of a row to csv without brackets.
    cell = f"[{cell}]" if cell.startswith("{") else cell
    for parse in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = parse(cell)
            return list(value) if isinstance(value, tuple) else value
    return cell


def _check_entity(entity: object) -> Span:
    if isinstance(entity, list | tuple):
        if len(entity) != 3:
            raise ValueError(f"with {len(entity)} values; {LAYOUTS}")
        start, end, label = entity
        text = None
    elif isinstance(entity, Mapping):
        entity = {**entity, **entity["value"]} if isinstance(entity.get("value"), Mapping) else entity
        start, end, label = (_first(entity, names) for names in (_STARTS, _ENDS, _LABELS))
        text = next((entity[name] for name in _TEXTS if isinstance(entity.get(name), str)), None)
    else:
        raise ValueError(f"that is {kind_of(entity)}; {LAYOUTS}")
    if isinstance(label, list | tuple):
        if len(label) != 1:
            raise ValueError(f"with {len(label)} labels; each entity needs one")
        label = label[0]
    try:
        name = check_label(label)
    except ValueError as error:
        raise ValueError(f"whose label {error}") from None
    return Span(_check_offset(start, "start"), _check_offset(end, "end"), name, text)


def _first(entity: Mapping[str, Any], names: Sequence[str]) -> Any:
    name = next((name for name in names if name in entity), None)
    if name is None:
        raise ValueError(f"without {names[0]!r}; {LAYOUTS}")
    return entity[name]


def _check_offset(value: object, name: str) -> int:
    # Lists of a column in Arrow have one type.
    if (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and value.isdecimal()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"whose {name} is {kind_of(value)}, not the number of a character")
    return value


def spans_to_tags(values: Values) -> None:
    """Replace the text and the entities of a row by its words as tokens and their tags in BIO.

    A word that an entity starts or ends in is divided there. Raise a ValueError for an entity that is outside the text,
    is blank, overlaps another one, or has another text.
    """
    text, spans = values.pop("text"), values.pop("entities")
    located = sorted({_locate(text, span)[:3] for span in spans})
    for (start, end, label), (next_start, next_end, next_label) in zip(located, located[1:]):
        if next_start < end:
            raise ValueError(
                f"has overlapping entities, {label} {text[start:end]!r} ({start} to {end}) and {next_label}"
                f" {text[next_start:next_end]!r} ({next_start} to {next_end}); keep one of them"
            )
    borders = sorted({border for start, end, _ in located for border in (start, end)})
    words = [word for word in _divide(split_words(text), borders) if text[slice(*word)].strip()]
    starts, tags = [start for start, _, _ in located], []
    for start, _ in words:
        number = bisect_right(starts, start) - 1
        is_inside = number >= 0 and start < located[number][1]
        tags.append(f"{FIRST if start == starts[number] else 'I'}-{located[number][2]}" if is_inside else OUTSIDE)
    values["tokens"], values["tags"] = [text[start:end] for start, end in words], tags


def _locate(text: str, span: Span) -> Span:
    """Return a span without white space at its ends."""
    start, end, label, expected = span
    if expected is not None and not _is_same(text[max(start, 0) : max(end, 0)], expected):
        start, end = _from_utf_16(text, start), _from_utf_16(text, end)
        if not _is_same(text[max(start, 0) : max(end, 0)], expected):
            raise ValueError(
                f"has the entity {expected!r} at {span.start} to {span.end}, but the text has"
                f" {text[max(span.start, 0) : max(span.end, 0)]!r} there; correct its start and end"
            )
    if not 0 <= start < end <= len(text):
        raise ValueError(
            f"has the entity {label} at {start} to {end}; expected 0 <= start < end <= {len(text)}, the length of the"
            " text"
        )
    content = text[start:end]
    if not content.strip():
        raise ValueError(f"has the entity {label} at {start} to {end}, which is white space; remove it")
    start += len(content) - len(content.lstrip())
    return Span(start, start + len(content.strip()), label)


def _is_same(content: str, expected: str) -> bool:
    # Label Studio writes line ends as \n in two characters.
    return content == expected or content.split() == expected.replace("\\n", "\n").split()


def _from_utf_16(text: str, offset: int) -> int:
    """Return the number of a character from its offset in UTF-16, which programs in JavaScript count."""
    return len(text.encode("utf-16-le", "surrogatepass")[: 2 * max(offset, 0)].decode("utf-16-le", "ignore"))


def split_words(text: str) -> list[tuple[int, int]]:
    """Return the start and the end of each word of a text, as predictions split it."""
    return [word.span() for word in _WORD.finditer(text.translate(_SHAPES))]


def _divide(words: Sequence[tuple[int, int]], borders: Sequence[int]) -> list[tuple[int, int]]:
    """Return words divided at borders."""
    divided, number = [], 0
    for start, end in words:
        while number < len(borders) and borders[number] <= start:
            number += 1
        while number < len(borders) and borders[number] < end:
            divided.append((start, borders[number]))
            start, number = borders[number], number + 1
        divided.append((start, end))
    return divided


class _Shapes(dict[int, str]):
    """Maps characters to those that `_WORD` reads."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character in _KEPT_SIGNS:
            shape = character
        elif character in "\0\t\n\f\r" or category[0] == "Z":
            shape = " "
        elif category[0] in "PS" or category == "Cc" or any(first <= code <= last for first, last in _HAN):
            shape = "?"
        else:
            shape = "a"
        self[code] = shape
        return shape


_SHAPES = _Shapes()


def label_studio_reader(entities_column: str | None) -> Callable[[Values], Values]:
    """Return a function from a row that Label Studio may have exported to one with a text and its entities.

    A row of its JSON has its text in `data`, and its entities in `annotations`. A row of JSON-MIN lacks the column of
    the entities if it has none.
    """

    def read(values: Values) -> Values:
        if isinstance(values.get("data"), dict) and isinstance(values.get("annotations"), list):
            return {**values["data"], "entities": _annotated(values["annotations"])}
        name = entities_column or "label"
        return {**values, name: []} if "annotation_id" in values and is_missing(values.get(name)) else values

    return read


def _annotated(annotations: list[Any]) -> list[Any]:
    """Return the entities of a row from its annotations, each by one person."""
    results = [
        [item for item in each.get("result", []) if isinstance(item, dict) and item.get("type", "labels") == "labels"]
        for each in annotations
        if isinstance(each, dict) and not each.get("was_cancelled")
    ]
    if not results:
        raise ValueError("is not annotated; remove such rows")
    if any(check_entities(each) != check_entities(results[0]) for each in results[1:]):
        raise ValueError(f"has {len(results)} annotations with different entities; keep one of them")
    return results[0]
