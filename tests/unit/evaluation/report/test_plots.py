import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from sklearn import metrics

from tfhub_ft.evaluation.report import plots

RNG = np.random.default_rng(0)
SCORES = RNG.random((200, 1))
TRUTH = RNG.random((200, 1)) < SCORES
EPOCHS = [{"epoch": n, "loss": 1 / n, "val_log_loss": 1.1 / n, "accuracy": 0.5} for n in (1, 2, 3)]
DRAWN = {
    "curves": lambda: plots.training_curves(EPOCHS, "loss", "log_loss", kept=2),
    "one epoch": lambda: plots.training_curves(EPOCHS[:1], "accuracy", "accuracy", kept=1),
    "lengths": lambda: plots.token_lengths(np.array([3, 9, 24, 24]), 24, 1, "rows"),
    "windows": lambda: plots.token_lengths(np.array([3, 9, 24, 90]), 24, 1, "rows"),
    "matrix": lambda: plots.confusion_matrix([[5, 1], [0, 4]], ["<b>$x$</b>", "日本語"]),
    "matrix of one label's rows": lambda: plots.confusion_matrix([[0, 0], [0, 0]], ["a", "b"]),
    "large matrix": lambda: plots.confusion_matrix(np.eye(60, dtype=int) * 3, [f"label {i}" for i in range(60)]),
    "roc": lambda: plots.roc_curves(SCORES, TRUTH, ["yes"], 0.5),
    "precision": lambda: plots.precision_recall_curves(SCORES, TRUTH, ["yes"], 0.99),
    "many": lambda: plots.roc_curves(np.tile(SCORES, 6), np.tile(TRUTH, 6), [f"label {i}" for i in range(6)], None),
    "reliability": lambda: plots.reliability_diagram(SCORES[:, 0], TRUTH[:, 0], {}),
    "scores": lambda: plots.score_distribution(
        {"yes": SCORES[TRUTH], "no": SCORES[~TRUTH]}, title="Scores", axis="score", caption="", threshold=0.5
    ),
    "no scores": lambda: plots.score_distribution({"yes": SCORES[:0, 0]}, title="Scores", axis="score", caption=""),
    "numbers": lambda: plots.scatter(SCORES[:, 0], SCORES[:, 0] + 0.1),
    "bars": lambda: plots.bars({"PER": 0.5, "LOC": 1.0}, title="F1", axis="F1", caption=""),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_plot_is_an_accessible_svg_in_the_colors_of_the_page(name):
    plot = DRAWN[name]()
    svg = plot.svg()
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == f"{plot.title}: {plot.caption}"
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    assert "#01010" not in svg
    assert "currentColor" in svg
    assert plot.svg() == svg


def test_precision_recall_curves_computes_only_the_four_that_are_drawn(monkeypatch):
    curve, calls = metrics.precision_recall_curve, []
    monkeypatch.setattr(metrics, "precision_recall_curve", lambda *data: calls.append(data) or curve(*data))
    plots.precision_recall_curves(np.tile(SCORES, 6), np.tile(TRUTH, 6), list("abcdef"), None).svg()
    assert len(calls) == 4


def test_plot_escapes_labels():
    texts = [each.text for each in ElementTree.fromstring(DRAWN["matrix"]().svg()).iter() if each.text]
    assert "<b>$x$</b>" in texts
    assert "日本語" in texts


def test_confusion_matrix_caption_names_the_most_frequent_error():
    plot = plots.confusion_matrix([[5, 1, 0], [0, 4, 3], [0, 0, 2]], ["a", "b", "c"])
    assert plot.caption.endswith("The most frequent one: b predicted as c, 3 times.")


@pytest.mark.parametrize(
    ("lengths", "truncated", "expected"),
    [
        ([3, 24], 0, "All rows fit into 24 tokens."),
        ([3, 24], 1, "1 of 2 rows are longer than 24 tokens and truncated."),
        ([3, 90], 0, "Rows above 24 tokens are read in windows."),
        ([3, 90], 1, "1 rows have more than --max-windows and are truncated."),
    ],
)
def test_token_lengths_says_what_is_read(lengths, truncated, expected):
    caption = plots.token_lengths(np.array(lengths), 24, truncated, "rows").caption
    assert expected in caption
    assert ("windows" in caption) == (max(lengths) > 24)
