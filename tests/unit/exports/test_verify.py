import numpy as np
import pytest

from tfhub_ft.exports.formats import Tolerance
from tfhub_ft.exports.verify import compare_outputs, compare_predictions, verification_summary
from tfhub_ft.utils.errors import RunError

EXPECTED = {"tokens": [{"logits": np.array([[1.0, 2.0]]), "label": np.array([b"yes"], object)}]}


def outputs(logits=(1.0, 2.0), label=b"yes"):
    return {"tokens": [{"logits": np.array([logits]), "label": np.array([label], object)}]}


def test_compare_outputs_returns_the_largest_difference():
    assert compare_outputs(outputs((1.0, 2.001)), EXPECTED, Tolerance(outputs=0.01))["tokens"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (outputs((1.0, 2.1)), "tokens: logits differ by 0.1, 0.01 is allowed"),
        (outputs((1.0, np.nan)), "tokens: logits has values that are not finite"),
        (outputs((1.0, 2.0, 3.0)), r"tokens: logits is \(1, 3\), expected \(1, 2\)"),
        ({"tokens": [{}]}, r"tokens: logits is missing, expected \(1, 2\)"),
        (
            outputs(label=b"no"),
            "tokens: label differs: got 'no', expected 'yes' .0.0% of the texts are equal, at least",
        ),
    ],
)
def test_compare_outputs_refuses_differences(actual, message):
    with pytest.raises(RunError, match=message):
        compare_outputs(actual, EXPECTED, Tolerance(outputs=0.01))


def test_compare_outputs_ignores_texts_on_request():
    assert compare_outputs(outputs(label=b"no"), EXPECTED, Tolerance(outputs=0.01), texts=False) == {"tokens": 0.0}


def test_compare_predictions_returns_agreement_and_scores():
    tolerance = Tolerance(agreement=0.9, score=0.01)
    report = compare_predictions("accuracy", 0.95, 0.9, 0.94, tolerance, 100)
    assert report == {"agreement": 0.9, "score": {"name": "accuracy", "model": 0.95, "form": 0.94}}
    with pytest.raises(RunError, match="80.0% of the predictions for 100 rows are equal, at least 90% must be"):
        compare_predictions("accuracy", 0.95, 0.8, 0.95, tolerance, 100)
    with pytest.raises(RunError, match="accuracy falls from 0.9500 to 0.9000, by more than 0.01"):
        compare_predictions("accuracy", 0.95, 1.0, 0.9, tolerance, 100)
    with pytest.raises(RunError, match="perplexity rises from 10.0000 to 11.0000, by more than 1.0%"):
        compare_predictions("perplexity", 10.0, None, 11.0, tolerance, 100)


def test_verification_summary_names_files_without_folders():
    verified_on = {"files": ["/home/someone/rows.csv"], "kept_by_run": False, "rows": 1200, "labels": True}
    assert verification_summary({"verified_on": verified_on}) == "1,200 rows of rows.csv, with labels"
    assert verification_summary({"rows": 24}) == "24 rows"
