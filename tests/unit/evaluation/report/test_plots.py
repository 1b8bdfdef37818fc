import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tfhub_ft.evaluation.report import plots

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.random((200, 1))
TRUTH = RANDOM.random((200, 1)) < SCORES
EPOCHS = [{"epoch": n, "loss": 1 / n, "val_log_loss": 1.1 / n, "accuracy": 0.5} for n in (1, 2, 3)]
DRAWN = {
    "curves": lambda: plots.training_curves(EPOCHS, "loss", "log_loss", kept=2),
    "one epoch": lambda: plots.training_curves(EPOCHS[:1], "accuracy", "accuracy", kept=1),
    "lengths": lambda: plots.token_lengths(np.array([3, 9, 24, 24]), 24, 1, "rows"),
    "matrix": lambda: plots.confusion_matrix([[5, 1], [0, 4]], ["<b>$x$</b>", "日本語"]),
    "matrix of one label's rows": lambda: plots.confusion_matrix([[0, 0], [0, 0]], ["a", "b"]),
    "large matrix": lambda: plots.confusion_matrix(np.eye(60, dtype=int) * 3, [f"label {i}" for i in range(60)]),
    "roc": lambda: plots.roc_curves(SCORES, TRUTH, ["yes"], 0.5),
    "precision": lambda: plots.precision_recall_curves(SCORES, TRUTH, ["yes"], 0.99),
    "many": lambda: plots.roc_curves(np.tile(SCORES, 6), np.tile(TRUTH, 6), [f"label {i}" for i in range(6)], None),
    "reliability": lambda: plots.reliability_diagram(SCORES[:, 0], TRUTH[:, 0], {}),
    "scores": lambda: plots.score_distribution(
        {"yes": SCORES[TRUTH], "no": SCORES[~TRUTH]}, title="Scores", axis="score", says="", threshold=0.5
    ),
    "numbers": lambda: plots.scatter(SCORES[:, 0], SCORES[:, 0] + 0.1),
    "bars": lambda: plots.bars({"PER": 0.5, "LOC": 1.0}, title="F1", axis="F1"),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_svg_in_the_pages_colours_with_words_for_who_cannot_see_it(name):
    picture = DRAWN[name]()
    drawn = picture.svg()
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == f"{picture.title}: {picture.says}"
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    assert "#01010" not in drawn
    assert "currentColor" in drawn
    assert picture.svg() == drawn


def test_labels_stand_in_the_picture_as_they_are():
    texts = [each.text for each in ElementTree.fromstring(DRAWN["matrix"]().svg()).iter() if each.text]
    assert "<b>$x$</b>" in texts
    assert "日本語" in texts


def test_what_is_mistaken_most_is_said():
    picture = plots.confusion_matrix([[5, 1, 0], [0, 4, 3], [0, 0, 2]], ["a", "b", "c"])
    assert picture.says == "Taken for another label most often: b for c, 3 times."
