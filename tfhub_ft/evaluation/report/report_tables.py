"""Tables of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfhub_ft.evaluation.console_tables import headlines, score_cells
from tfhub_ft.evaluation.report.explained_texts import ExplainedText, explained_texts
from tfhub_ft.evaluation.report.plots import shorten
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.metrics import Scores
from tfhub_ft.metrics.label_errors import LOOKS_WRONG, fit_of_other_label

ROWS_SHOWN, CLASSES_SHOWN = 20, 200
# Values that the report shows with the training curves.
IN_TRAINING = ("epoch", "trained weights")


@dataclass(frozen=True)
class ReportTable:
    """A table of a report, with a caption that says what to look for."""

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | ExplainedText | None]]


def class_table(scores: Scores) -> ReportTable:
    """Return a table of the scores of each label."""
    by_label = scores["per_class"]
    columns = list(next(iter(by_label.values())))
    rows = [[label, *values.values()] for label, values in list(by_label.items())[:CLASSES_SHOWN]]
    caption = "rows: how many have the label; predicted: how many are predicted to have it. Labels with few rows or a"
    caption += " low F1 need more data."
    if len(by_label) > CLASSES_SHOWN:
        caption += f" These are the first {CLASSES_SHOWN} of {len(by_label):,} labels."
    return ReportTable("Labels", caption, ["label", *columns], rows)


def label_issues(
    scored: Scored, labels: Sequence[str], predicted: np.ndarray, confidence: np.ndarray
) -> list[ReportTable]:
    """Return tables of wrong predictions: rows whose label looks wrong, and other mistakes, most confident first.

    A label looks wrong if the row is more typical of another label than half of that label's rows are; see
    `fit_of_other_label`. `labels` are those with a logit.
    """
    texts, targets, probabilities = scored.texts, scored.targets, scored.probabilities
    true, names = [row.values["label"] for row in scored.rows], [scored.labels[int(i)] for i in predicted]
    wrong = np.flatnonzero([one != other for one, other in zip(true, names, strict=True)])
    typical = fit_of_other_label(probabilities, targets)
    doubtful = wrong[typical[wrong] > LOOKS_WRONG]
    doubtful = doubtful[np.argsort(-typical[doubtful], kind="stable")]
    mistakes = np.setdiff1d(wrong, doubtful)
    mistakes = mistakes[np.argsort(-confidence[mistakes], kind="stable")]
    shown = mistakes[:ROWS_SHOWN].tolist()
    shown_texts, legend = explained_texts(scored, shown)
    return [
        ReportTable(
            "Labels that look wrong",
            f"{len(doubtful):,} of {len(texts):,} rows fit another label better than half of the rows with that label"
            f" do{'; either their label or the model is wrong' if len(doubtful) else ''}.",
            ["text", "label", "suggested label", "fits better than"],
            [
                [shorten(texts[i]), true[i], labels[int(probabilities[i].argmax())], f"{typical[i]:.0%} of its rows"]
                for i in map(int, doubtful[:ROWS_SHOWN])
            ],
        ),
        ReportTable(
            "Most confident mistakes",
            f"{len(wrong):,} of {len(texts):,} predictions differ from the label; for {len(mistakes):,} of them the"
            f" label does not look wrong.{' What do these texts have in common?' if len(mistakes) else ''}{legend}",
            ["text", "label", "prediction", "confidence"],
            [[text, true[i], names[i], float(confidence[i])] for i, text in zip(shown, shown_texts, strict=True)],
        ),
    ]


def score_table(scores: Mapping[str, Scores]) -> ReportTable:
    """Return a table of the scores of each split and of a model that knows label shares only."""
    columns, rows = score_cells(scores)
    baseline = list(scores.values())[-1].get("baseline", {})
    if baseline:
        columns.append("majority baseline")
        for name, row in zip(headlines(scores), rows, strict=True):
            row.append(baseline.get(name))
    caption = ""
    if "95% interval" in columns:
        caption = "The 95% intervals show how much the scores could differ on other rows of this kind; more rows narrow"
        caption += " them. They are exact for proportions and bootstrapped for other scores."
    if baseline:
        caption += " The majority baseline predicts the most frequent training label for every row. A useful model is"
        caption += " clearly better."
    defined = [row for row in rows if any(value is not None for value in row[1:]) and row[0] not in IN_TRAINING]
    return ReportTable("Scores", caption.strip(), columns, defined)
