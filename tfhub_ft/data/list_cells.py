"""Parse cells with lists as Python, JSON, NumPy and PostgreSQL write them."""

import ast
import json
import re

_WRAPPED = re.compile(r"\s*(?:frozenset|set|array|list|tuple)\((.*?)(?:,\s*dtype=[^)]*)?\)\s*", re.DOTALL)
_TAGS = re.compile(r"\s*(?:<[^<>]+>)+\s*")
_BRACKETED = re.compile(r"\s*(?:\[(.*)\]|\((.*)\)|\{(.*)\})\s*", re.DOTALL)
_QUOTED_LIST = re.compile(r"""\s*(?:\w+\(\s*)?[\[({]\s*(?:(?:np\.\w+\()?[uU]?['"]|[\])}])""")
_ITEM = re.compile(
    r"""\s*(?:
        (?P<wrapper>np\.\w+\()? [uU]? (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') (?(wrapper)\))
        | (?P<bare>np\.\w+\([^()'"]*\)|[^\s,'"\[\](){}:](?:[^,'"\[\](){}:]*[^\s,'"\[\](){}:])?)
    )\s*(?:,|(?=['"]|np\.)|$)""",
    re.DOTALL | re.VERBOSE,
)
_MISSING = ("none", "nan", "null")


def is_list(cell: str) -> bool:
    """Return whether a cell is in brackets of any kind."""
    return any(pattern.fullmatch(cell) for pattern in (_BRACKETED, _WRAPPED, _TAGS))


def is_quoted_list(cell: str) -> bool:
    """Return whether a cell starts like a list of texts in quotes, or is an empty list."""
    return bool(_QUOTED_LIST.match(cell))


def parse_list(cell: str) -> list[str]:
    """Return the items of a cell such as ['a', 'b'], ["a", "b"], ('a',), {'a', 'b'}, ['a' 'b'], <a><b> or []."""
    if _TAGS.fullmatch(cell):
        return cell.strip()[1:-1].split("><")
    wrapped = _WRAPPED.fullmatch(cell)
    inner = wrapped[1] if wrapped else cell
    if not inner.strip():
        return []
    bracketed = _BRACKETED.fullmatch(inner)
    if not bracketed:
        raise ValueError(f"is {_shorten(cell)}, not a list as in other rows")
    content = next(group for group in bracketed.groups() if group is not None)
    items, position = [], 0
    while content[position:].strip():
        item = _ITEM.match(content, position)
        if not item:
            raise ValueError(f"is {_shorten(cell)}, not a list that can be read")
        items.append(_unquote(item["quoted"]) if item["quoted"] else _bare_item(item["bare"]))
        position = item.end()
    if len(items) == 1 and not bracketed[0].count("'") and re.fullmatch(r"-?\d+(\s+-?\d+)+", items[0]):
        return items[0].split()
    return items


def _unquote(literal: str) -> str:
    if "\\" not in literal:
        return literal[1:-1]
    try:
        return json.loads(literal) if literal[0] == '"' else ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        raise ValueError(f"has the item {_shorten(literal)}, whose backslashes cannot be read") from None


def _bare_item(word: str) -> str:
    wrapped = re.fullmatch(r"np\.\w+\((.*)\)", word)
    word = wrapped[1] if wrapped else word
    if word.casefold() in _MISSING:
        raise ValueError(f"has a missing item ({word})")
    return word


def _shorten(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else f"{cell[:57]}...")
