"""Texts of a report with the words that made the prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfhub_ft.evaluation.explanations import format_attribution
from tfhub_ft.evaluation.report.plots import shorten
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.utils.errors import InputError, first_line

# The first rows with this many tokens together are explained, in about two seconds with minilm-l6 on two cores.
EXPLAINED_TOKENS = 300
CHARACTERS, NUMBERS_SHOWN, LEVELS = 400, 3, 4
# Share of the largest attribution of a text from which a word is marked.
FAINTEST = 0.1
LEGEND = " Blue words raise the prediction, orange words with a dotted line lower it; the largest attributions, in"
LEGEND += " log-odds of the label or in the unit of the number, follow the text."


@dataclass(frozen=True)
class ExplainedText:
    """A text in parts, each with its attribution or None, and the largest attributions in words."""

    parts: Sequence[tuple[str, float | None]]
    numbers: str

    def title(self, attribution: float) -> str:
        """Return the number of a part."""
        return format_attribution(attribution)

    def mark(self, attribution: float | None) -> str:
        """Return the class of a part: "for1" to "for4", "against1" to "against4", or nothing."""
        strongest = max((abs(value) for _, value in self.parts if value is not None), default=0.0)
        if attribution is None or not strongest or abs(attribution) / strongest < FAINTEST:
            return ""
        level = min(LEVELS, 1 + int(LEVELS * abs(attribution) / strongest))
        return f"{'for' if attribution > 0 else 'against'}{level}"


def explained_texts(scored: Scored, rows: Sequence[int]) -> tuple[list[str | ExplainedText], str]:
    """Return the texts of some rows for a table, the first ones with their explanations, and a line about them."""
    texts: list[str | ExplainedText] = [shorten(scored.texts[i], CHARACTERS) for i in rows]
    if scored.explain is None or not rows:
        return texts, ""
    # An English word makes a token or two.
    lengths = [2 + len(scored.texts[i]) // 4 for i in rows]
    count = max(1, sum(sum(lengths[: number + 1]) <= EXPLAINED_TOKENS for number in range(len(rows))))
    explained = [*rows[:count]]
    try:
        segments = [scored.task.prediction_inputs(scored.rows[i]) for i in explained]
        outputs = {"logits": scored.logits[explained]}
        predictions = scored.task.decode_serving_outputs(outputs, segments, scored.labels, scored.thresholds)
        # Of several labels, the most likely one.
        predictions = [one | {"labels": one["labels"][:1]} if "labels" in one else one for one in predictions]
        explanations = scored.explain(segments, predictions)
    except InputError:  # such as an encoder that is computed by its graph
        return texts, ""
    except Exception as error:  # a report must not fail a training run
        return texts, f" The words that made these predictions cannot be shown ({first_line(error)})."
    for number, (row, explanation) in enumerate(zip(segments, explanations, strict=True)):
        texts[number] = _explained_text(row, scored.task.fields, explanation["explanation"])
    if count < len(rows):
        return texts, f"{LEGEND} Only the first {f'{count} rows are' if count > 1 else 'row is'} explained."
    return texts, LEGEND


def _explained_text(
    segments: Sequence[str], fields: Sequence[str], words: Sequence[Mapping[str, Any]]
) -> ExplainedText:
    parts: list[tuple[str, float | None]] = []
    for number, (field, text) in enumerate(zip(fields, segments, strict=True)):
        position = 0
        if number:
            parts.append((" │ ", None))
        for word in words:
            if word.get("field", field) == field:
                parts += [(text[position : word["start"]], None), (word["text"], word["attribution"])]
                position = word["end"]
        parts.append((text[position:], None))
    ordered = sorted(words, key=lambda word: -abs(word["attribution"]))[:NUMBERS_SHOWN]
    numbers = ", ".join(f"{word['text']} {format_attribution(word['attribution'])}" for word in ordered)
    labels = [f"{word['label']}: " for word in words[:1] if "label" in word]
    return ExplainedText(_shorten(parts), "".join(labels) + numbers)


def _shorten(parts: Sequence[tuple[str, float | None]]) -> list[tuple[str, float | None]]:
    """Return the non-empty parts of the first characters, as `shorten` does."""
    shown: list[tuple[str, float | None]] = []
    room = CHARACTERS
    for text, attribution in parts:
        if len(text) > room:
            return [*shown, (shorten(text, max(room, 1)), attribution)]
        if text:
            shown.append((text, attribution))
        room -= len(text)
    return shown
