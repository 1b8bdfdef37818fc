from pathlib import Path

import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import TASKS, decisions, described_task, load_task, share_equal
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize("name", TASKS)
def test_load_task_returns_the_task_of_each_name(name):
    if name == "dialogue":
        pytest.importorskip("keras_hub")
    assert load_task(name).name == name


def test_described_task_has_the_fields_of_the_export():
    task = described_task({"task": "classification", "inputs": ["premise", "hypothesis"]}, Path("1"))
    assert (task.name, task.fields) == ("classification", ("premise", "hypothesis"))
    assert load_task("classification").fields == ("text",)
    with pytest.raises(InputError, match="1: unknown task 'mine' .*; pass its run"):
        described_task({"task": "mine", "inputs": []}, Path("1"))


def test_columns_without_labels_are_those_of_the_fields():
    task = load_task("classification")
    assert [column.name for column in task.columns(labeled=False)] == ["text"]
    pair = described_task({"task": "classification", "inputs": ["sentence1", "sentence2"]}, Path("1"))
    assert [column.name for column in pair.columns(labeled=False)] == ["sentence1", "sentence2"]
    assert pair.prediction_inputs(Row(2, {"sentence1": "a", "sentence2": "b"})) == ("a", "b")


def test_share_equal_compares_decisions_of_labels_and_of_numbers():
    labels = decisions(load_task("classification"), [{"label": "a"}, {"label": "b"}], ["a", "b"])
    assert share_equal(labels, ["a", "a"]) == 0.5
    assert share_equal(labels, ["a"]) == 0
    numbers = decisions(load_task("regression"), [{"score": 1.0}], [])
    assert share_equal(numbers, numbers) is None
