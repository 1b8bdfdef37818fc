from pathlib import Path

import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import TASKS, described_task, load_task, never_predicted
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize("name", TASKS)
def test_load_task_makes_the_task_of_each_name(name):
    if name == "dialogue":
        pytest.importorskip("keras_hub")
    assert load_task(name).name == name


def test_described_task_has_the_fields_of_the_export():
    task = described_task({"task": "classification", "inputs": ["premise", "hypothesis"]}, Path("1"))
    assert (task.name, task.fields) == ("classification", ("premise", "hypothesis"))
    assert load_task("classification").fields == ("text",)
    with pytest.raises(InputError, match="its task 'mine' is not one of"):
        described_task({"task": "mine", "inputs": []}, Path("1"))


def test_text_columns_are_those_of_the_fields():
    task = load_task("classification")
    assert [column.name for column in task.text_columns()] == ["text"]
    pair = described_task({"task": "classification", "inputs": ["sentence1", "sentence2"]}, Path("1"))
    assert [column.name for column in pair.text_columns()] == ["sentence1", "sentence2"]
    assert pair.prediction_inputs(Row(2, {"sentence1": "a", "sentence2": "b"})) == ("a", "b")


def scores(**predicted):
    return {"test": {"per_class": {label: {"rows": 5, "predicted": count} for label, count in predicted.items()}}}


@pytest.mark.parametrize(
    ("predicted", "warning"),
    [
        ({"a": 2, "b": 3}, None),
        ({"a": 5, "b": 5, "c": 0}, "labels that the model never predicts, with their test rows: c"),
        ({"a": 10, "b": 0}, "the model predicts 'a' for all test rows"),
        ({"a": 0, "b": 0}, "the model predicts no label for any of the test rows"),
    ],
)
def test_never_predicted_names_labels(predicted, warning):
    warnings = never_predicted(scores(**predicted))
    assert [text.startswith(warning or "") for text in warnings] == [True] * bool(warning)
