"""Tables of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.evaluation.console_tables import format_cell, headlines, score_columns, score_intervals
from tfhub_ft.evaluation.report.plots import shortened

if TYPE_CHECKING:
    import numpy as np

ROWS_SHOWN, CHARACTERS_SHOWN, CLASSES_SHOWN = 20, 400, 200


@dataclass(frozen=True)
class Listing:
    """A table of a report.

    Args:
        title: a few words, above it.
        says: what it shows.
        columns: their names.
        rows: a cell a column: texts, numbers, or None.
    """

    title: str
    says: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def per_class(scores: Mapping[str, Any]) -> Listing:
    """Precision, recall and whatever else the scores say of each label."""
    labels = scores["per_class"]
    columns = list(next(iter(labels.values())))
    rows = [[label, *each.values()] for label, each in list(labels.items())[:CLASSES_SHOWN]]
    more = f"The first {CLASSES_SHOWN} of {len(labels):,}." if len(labels) > CLASSES_SHOWN else ""
    return Listing("Labels", more, ["label", *columns], rows)


def label_issues(
    texts: Sequence[str],
    given: Sequence[str],
    predicted: Sequence[str],
    targets: "np.ndarray",
    probabilities: "np.ndarray",
    labels: Sequence[str],
    confidence: "np.ndarray",
) -> list[Listing]:
    """Two tables of wrong predictions: rows whose own label looks wrong, and the other mistakes, surest first.

    A label looks wrong where the row is more typical of another label than half of that label's own rows are: the model
    gives that label a higher probability than it gives to the median of them. A row is in one of the tables only.

    Args:
        texts: of the rows.
        given: their labels.
        predicted: the labels that the model predicts.
        targets: int (rows,), indices of labels; negative where a row's label is none of them.
        probabilities: float (rows, labels).
        labels: the labels' names.
        confidence: float (rows,), the probability of the prediction.

    Reference:
        Northcutt, Jiang and Chuang 2021 (confident learning), https://arxiv.org/abs/1911.00068
    """
    import numpy as np

    wrong = np.flatnonzero([one != other for one, other in zip(given, predicted, strict=True)])
    typical = np.full(len(texts), np.nan)
    for label in range(len(labels)):
        own = np.sort(probabilities[targets == label, label])
        likely = wrong[(targets[wrong] >= 0) & (targets[wrong] != label) & (probabilities[wrong].argmax(-1) == label)]
        if len(own) and len(likely):
            typical[likely] = np.searchsorted(own, probabilities[likely, label]) / len(own)
    doubtful = wrong[typical[wrong] > 0.5]
    doubtful = doubtful[np.argsort(-typical[doubtful], kind="stable")]
    mistakes = np.setdiff1d(wrong, doubtful)
    mistakes = mistakes[np.argsort(-confidence[mistakes], kind="stable")]
    return [
        Listing(
            "Labels that look wrong",
            f"{len(doubtful):,} of {len(texts):,} rows are more typical of another label than half of that label's own"
            " rows are. The model may be mistaken, or the label.",
            ["text", "label", "perhaps", "more typical than"],
            [
                [cut(texts[i]), given[i], labels[probabilities[i].argmax()], f"{typical[i]:.0%} of its rows"]
                for i in doubtful[:ROWS_SHOWN]
            ],
        ),
        Listing(
            "Most confident mistakes",
            f"{len(wrong):,} of {len(texts):,} predictions are not the row's label; of {len(mistakes):,} of them the"
            " label does not look wrong.",
            ["text", "label", "prediction", "confidence"],
            [[cut(texts[i]), given[i], predicted[i], float(confidence[i])] for i in mistakes[:ROWS_SHOWN]],
        ),
    ]


def cut(text: str) -> str:
    """A text as a table shows it."""
    return shortened(text, CHARACTERS_SHOWN)


def scores_listing(scores: Mapping[str, Mapping[str, Any]]) -> Listing:
    """Return the scores of each split, with those of a model that knows the shares of the labels only."""
    intervals, last = score_intervals(scores), list(scores.values())[-1]
    baseline = last.get("baseline", {})
    rows = []
    for name in headlines(scores):
        values = [split.get(name) for split in scores.values()]
        if all(value is None for value in values):
            continue
        interval = [" to ".join(map(format_cell, intervals[name])) if name in intervals else None] if intervals else []
        rows.append([name.replace("_", " "), *values, *interval, *([baseline.get(name)] if baseline else [])])
    extra = [*(["95% interval"] if intervals else []), *(["majority baseline"] if baseline else [])]
    says = "Intervals are exact for proportions and from resampled rows for all other scores." if intervals else ""
    if baseline:
        says += " The baseline gives every row the most frequent label of the training rows, at its share of them."
    return Listing("Scores", says.strip(), ["", *score_columns(scores), *extra], rows)
