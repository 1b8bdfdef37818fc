"""Tables of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.evaluation.pictures import shortened

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


def confident_mistakes(
    texts: Sequence[str], given: Sequence[str], answered: Sequence[str], confidence: "np.ndarray"
) -> Listing:
    """The wrong answers that the model was surest of.

    Args:
        texts: of the rows.
        given: their labels.
        answered: the model's.
        confidence: float (rows,), how sure it was of its answer.
    """
    wrong = [i for i in range(len(texts)) if given[i] != answered[i]]
    surest = sorted(wrong, key=lambda i: -confidence[i])[:ROWS_SHOWN]
    rows = [[cut(texts[i]), given[i], answered[i], float(confidence[i])] for i in surest]
    says = f"{len(wrong):,} of {len(texts):,} answers are not the row's label."
    return Listing("Most confident mistakes", says, ["text", "label", "answer", "confidence"], rows)


def doubtful_labels(
    texts: Sequence[str], targets: "np.ndarray", probabilities: "np.ndarray", labels: Sequence[str]
) -> Listing:
    """Rows whose label looks wrong: the model is as sure of another label as it is of that label's own rows.

    Args:
        texts: of the rows.
        targets: int (rows,), indices of labels.
        probabilities: float (rows, labels).
        labels: their names.

    Reference:
        Northcutt, Jiang and Chuang 2021 (confident learning), https://arxiv.org/abs/1911.00068
    """
    import numpy as np

    own = probabilities[np.arange(len(targets)), targets]
    # A label that no row has is nothing to be as sure of.
    usual = [own[targets == label].mean() if (targets == label).any() else np.inf for label in range(len(labels))]
    sure = np.where(probabilities >= np.array(usual), probabilities, 0)
    other = sure.argmax(-1)
    doubted = np.flatnonzero((sure.max(-1) > 0) & (other != targets))
    doubted = doubted[np.argsort(own[doubted], kind="stable")]
    rows = [[cut(texts[i]), labels[targets[i]], labels[other[i]], float(own[i])] for i in doubted[:ROWS_SHOWN]]
    says = (
        f"{len(doubted):,} of {len(texts):,} rows: the model is as sure of another label as it is of that label's own"
        " rows. Some are its mistakes; some are the data's."
    )
    columns = ["text", "label", "perhaps", "probability of the label"]
    return Listing("Labels that look wrong", says, columns, rows)


def cut(text: str) -> str:
    """A text as a table shows it."""
    return shortened(text, CHARACTERS_SHOWN)
