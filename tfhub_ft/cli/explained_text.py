"""Show the words that made a prediction as numbers or as colored text."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tfhub_ft.utils.console import printable

if TYPE_CHECKING:
    from rich.text import Text

# As in reports: blue for words that raise the prediction, orange for those that lower it.
FOR, AGAINST = (86, 180, 233), (240, 161, 58)
# Share of the largest attribution of a row from which a word's number is shown.
SMALLEST = 0.01
# Share of the largest attribution of a row from which a word is colored.
FAINTEST, FAINTEST_OF_16_COLORS = 0.05, 0.3


def shows_colors() -> bool:
    """Return whether standard output is a terminal with colors."""
    from rich.console import Console

    console = Console()
    return console.is_terminal and not console.no_color and console.color_system is not None


def format_words(words: Sequence[Mapping[str, Any]]) -> str:
    """Return the words with their attributions, the largest first, such as "never -3.16  funny +0.61"."""
    from tfhub_ft.evaluation.explanations import format_attribution

    parts = []
    for label, some in _by_label(words):
        ordered = sorted(some, key=lambda word: -abs(word["attribution"]))
        least = SMALLEST * max((abs(word["attribution"]) for word in some), default=0.0)
        shown = [word for word in ordered if abs(word["attribution"]) > least]
        numbers = [f"{_one_line(word['text'])} {format_attribution(word['attribution'])}" for word in shown]
        parts.append((f"{label}: " if label else "") + "  ".join(numbers))
    return "; ".join(parts)


def print_in_colors(
    cells: Sequence[str], texts: Sequence[str], fields: Sequence[str], words: Sequence[Mapping[str, Any]]
) -> None:
    """Print a line with cells, then the texts with colored words; one line for each label of the words."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    has_shades = console.color_system != "standard"
    for label, some in list(_by_label(words)) or [(None, [])]:
        strongest = max((abs(word["attribution"]) for word in some), default=0.0) or 1.0
        columns = [*cells, label] if label else cells
        line = Text(printable("\t".join(columns)))
        for field, text in zip(fields, texts, strict=True):
            line.append("\t")
            of_text = [word for word in some if word.get("field", field) == field]
            line.append(_colored(text, of_text, partial(_style, strongest=strongest, has_shades=has_shades)))
        console.print(line)


def _by_label(words: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str | None, list[Mapping[str, Any]]]]:
    for label, some in itertools.groupby(words, key=lambda word: word.get("label")):
        yield label, list(some)


def _style(attribution: float, strongest: float, has_shades: bool) -> str:
    strength = abs(attribution) / strongest
    if strength < (FAINTEST if has_shades else FAINTEST_OF_16_COLORS):
        return ""
    if not has_shades:
        return f"black on bright_{'cyan' if attribution > 0 else 'yellow'}"
    red, green, blue = (round(255 - (255 - part) * strength) for part in (FOR if attribution > 0 else AGAINST))
    return f"black on rgb({red},{green},{blue})"


def _colored(text: str, words: Sequence[Mapping[str, Any]], style_of: Callable[[float], str]) -> "Text":
    from rich.text import Text

    colored, position = Text(), 0
    for word in words:
        colored.append(_one_line(text[position : word["start"]]))
        position = word["end"]
        colored.append(_one_line(text[word["start"] : position]), style_of(word["attribution"]))
    colored.append(_one_line(text[position:]))
    return colored


def _one_line(text: str) -> str:
    """Return a part of a text without line ends and tabs."""
    return printable("".join(" " if character.isspace() else character for character in text))
