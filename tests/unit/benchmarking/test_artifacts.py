import shutil

import pytest

from tfhub_ft.benchmarking.artifacts import find_artifacts, task_of
from tfhub_ft.utils.errors import InputError


def test_find_artifacts_lists_a_saved_model_twice(tiny_export):
    artifacts = find_artifacts(tiny_export)
    assert [(artifact.path.name, artifact.reads) for artifact in artifacts] == [("1", "text"), ("1", "tokens")]
    assert [artifact.signature for artifact in artifacts] == ["serving_default", "tokens"]
    assert task_of(artifacts[0]).name == "classification"
    assert artifacts[0].description["labels"] == ["negative", "positive"]


def test_find_artifacts_names_missing_artifacts(tiny_export, tmp_path):
    shutil.copy(tiny_export / "export.json", tmp_path)
    with pytest.raises(InputError, match=r"1: not found, but .*export\.json names it; export its run again"):
        find_artifacts(tmp_path)
    with pytest.raises(InputError, match="tfhub-ft export RUN --output-dir DIR writes an export folder"):
        find_artifacts(tmp_path / "none")
