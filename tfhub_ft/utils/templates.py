"""Texts composed of columns, whose names are in braces."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tfhub_ft.utils.errors import InputError

_PART = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<lone>[{}])|(?P<literal>[^{}]+)")


@dataclass(frozen=True)
class Template:
    """A text with the names of columns in braces; `{{` and `}}` are braces of the text.

    Args:
        text: The template, such as "{title}. {body}".
        option: The command-line option that sets it, for error messages.

    Raises:
        InputError: A brace is not closed, or no column is named.

    Example:
        Template("{title}. {body}", "--text").names  # ("title", "body")
    """

    text: str
    option: str

    def __post_init__(self) -> None:
        for part in _PART.finditer(self.text):
            if part["lone"]:
                raise InputError(
                    f"{self}: the brace {part['lone']!r} at character {part.start() + 1} is not paired; write column"
                    " names as {name}, and a brace of the text twice"
                )
            if part["name"] is not None and not part["name"].strip():
                raise InputError(
                    f"{self}: braces without a column name; write the name between them, such as {{title}}"
                )
        if not self.names:
            raise InputError(
                f"{self}: names no column; write column names in braces, such as '{{title}}. {{body}}', or name the"
                f" column of the text with {self.column_option}"
            )

    def __str__(self) -> str:
        return f"{self.option} {self.text!r}"

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in the order of the text."""
        return tuple(part["name"].strip() for part in _PART.finditer(self.text) if part["name"] is not None)

    @property
    def column_option(self) -> str:
        """The option that names a single column instead."""
        is_only_text = self.option in ("--text", "--validation-text", "--test-text")
        return f"{self.option if is_only_text else self.option.removesuffix('-text')}-column"

    def fill(self, values: Sequence[str]) -> str:
        """Return the text with a value for each name."""
        remaining = iter(values)
        return _PART.sub(
            lambda part: next(remaining) if part["name"] is not None else part["literal"] or part["brace"][0], self.text
        )
