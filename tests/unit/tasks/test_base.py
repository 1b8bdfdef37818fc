from pathlib import Path

import pytest

from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import TASKS, described_task, load_task
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
    assert [column.name for column in task.columns(labeled=False)] == ["text"]
    pair = described_task({"task": "classification", "inputs": ["sentence1", "sentence2"]}, Path("1"))
    assert [column.name for column in pair.columns(labeled=False)] == ["sentence1", "sentence2"]
    assert pair.prediction_inputs(Row(2, {"sentence1": "a", "sentence2": "b"})) == ("a", "b")
