import dataclasses

import numpy as np
import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.evaluation.predictions import predicted_rows
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.tasks.base import Task
from tfhub_ft.tasks.classification import Classification
from tfhub_ft.tasks.intent import Intent
from tfhub_ft.tasks.multilabel import Multilabel
from tfhub_ft.tasks.regression import Regression

LOGITS = np.log(np.array([[0.75, 0.25], [0.4, 0.6], [0.25, 0.75]]))


def predictions(task, values, logits, labels, thresholds):
    rows = [Row(line, row) for line, row in enumerate(values, 2)]
    return [*predicted_rows(Scored(task, rows, logits, None, labels, thresholds, {}, {}), None, None)]


def texts(name, *values):
    return [{"text": f"text {number}", name: value} for number, value in enumerate(values)]


@pytest.mark.parametrize(("thresholds", "predicted"), [({}, ["a", "b", "b"]), ({"threshold": 0.7}, ["a", "a", "b"])])
def test_predicted_rows_of_labels_follow_the_threshold(monkeypatch, thresholds, predicted):
    monkeypatch.setattr("tfhub_ft.evaluation.predictions.ROWS_AT_ONCE", 2)
    rows = predictions(Classification(), texts("label", "a", "a", "new"), LOGITS, ["a", "b"], thresholds)
    assert [row["prediction"] for row in rows] == predicted
    assert rows[2] == {
        "line": 4, "text": "text 2", "label": "new", "prediction": "b", "probability_a": 0.25, "probability_b": 0.75,
    }  # fmt: skip


def test_predicted_rows_of_intents_name_what_is_out_of_scope():
    labels, thresholds = ["a", "b", "oos"], {"threshold": 0.3}
    rows = predictions(Intent(), texts("label", "a", "oos", "b"), LOGITS, labels, thresholds)
    assert [row["prediction"] for row in rows] == ["a", "oos", "b"]
    assert list(rows[0])[3:] == ["prediction", "probability_a", "probability_b"]


def test_predicted_rows_of_several_labels():
    logits, thresholds = np.array([[2.0, -2.0], [2.0, 3.0]]), {"thresholds": [0.5, 0.9]}
    rows = predictions(Multilabel(), texts("labels", (), ("a", "b")), logits, ["a", "b"], thresholds)
    assert [(row["labels"], row["prediction"]) for row in rows] == [((), ["a"]), (("a", "b"), ["b", "a"])]
    assert rows[1]["probability_a"] == pytest.approx(0.8808, abs=1e-4)


def test_predicted_rows_of_numbers_are_on_their_scale():
    values = [{"sentence1": "a", "sentence2": "b", "score": 4.123456789}]
    (row,) = predictions(Regression(), values, np.array([[0.5]], "float32"), ["0.0", "5.0"], {})
    assert row == {"line": 2, **values[0], "prediction": 2.5}


def test_predicted_rows_of_unknown_logits_have_no_prediction():
    @dataclasses.dataclass(frozen=True)
    class Custom(Task):
        name: str = "custom"
        monitor: str = "loss"

        def make_score_fn(self, model, precision="float32"):
            raise NotImplementedError

    (row,) = predictions(Custom(), texts("label", "a"), ["anything"], [], {})
    assert row == {"line": 2, "text": "text 0", "label": "a"}
