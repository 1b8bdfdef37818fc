import numpy as np
import pytest

from tfhub_ft.data.rows import Row, read_all
from tfhub_ft.settings import ScoredPairSettings, ScoredTextSettings
from tfhub_ft.tasks.regression import Regression
from tfhub_ft.utils.errors import InputError

TASK, SETTINGS = Regression(), ScoredPairSettings()
ROWS = [Row(i, {"sentence1": "a", "sentence2": "b", "score": score}) for i, score in enumerate([1.0, 5.0, 3.0], 2)]


def test_targets_are_scaled_between_lowest_and_highest_score():
    ends = TASK.labels(ROWS, "f", SETTINGS)
    np.testing.assert_allclose(TASK.targets(ROWS, ends, "f"), [[0], [1], [0.5]])
    logits = np.array([[0.25]], "float32")
    assert TASK.decode_serving_outputs({"logits": logits}, [], ends, {}) == [{"score": 2.0}]
    assert float(np.asarray(TASK.serving_outputs(logits, ends, {})["score"])[0]) == 2


def test_metrics_are_on_the_scale_of_the_scores():
    ends = ["0.0", "5.0"]
    scores = TASK.metrics(np.array([[0.0], [0.5], [1.0]]), np.array([[0.2], [0.6], [1.0]]), ends, {})
    assert scores["mean_absolute_error"] == pytest.approx(0.5)
    assert scores["spearman"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sentence1,score\na,1\n", "column 'sentence2' .* not found"),
        ("sentence1,sentence2,score\na,b,high\n", "line 2: column 'score' is 'high', not a number"),
        ("sentence1,sentence2,score\na,b,nan\n", "line 2: column 'score' is 'nan', not a finite number"),
        ("sentence1,sentence2,score\na,b,\n", "line 2: column 'score' is empty"),
    ],
)
def test_columns_reject_bad_pairs(tmp_path, content, message):
    path = tmp_path / "pairs.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_all(path, TASK.columns(SETTINGS))
    assert str(error.value).startswith(str(path))


def test_labels_rejects_a_single_score():
    with pytest.raises(InputError, match="every row has the score 5"):
        TASK.labels(ROWS[1:2], "f", SETTINGS)


PRICES = [Row(i, {"text": "a", "score": score}) for i, score in enumerate([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 2)]


def test_standardized_targets_have_mean_0_and_deviation_1():
    task = Regression(("text",), standardized=True)
    ends = task.labels(PRICES, "f", ScoredTextSettings())
    assert ends == ["5.0", "7.0"]
    targets = task.targets(PRICES, ends, "f")
    np.testing.assert_allclose([targets.mean(), targets.std()], [0, 1], atol=1e-6)
    assert task.decode_serving_outputs({"logits": targets[:1]}, [], ends, {}) == [{"score": 2.0}]


@pytest.mark.parametrize("standardized", [False, True])
def test_labels_rejects_scores_of_too_wide_a_range(standardized):
    rows = [Row(i, {"text": "a", "score": score}) for i, score in enumerate([-1e308, 1e308], 2)]
    with pytest.raises(InputError, match=r"^f: scores from -1e\+308 to 1e\+308 span too wide a range; rescale them$"):
        Regression(("text",), standardized=standardized).labels(rows, "f", ScoredTextSettings())
