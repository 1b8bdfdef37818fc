import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tfhub_ft.cli.encoders import command
from tfhub_ft.encoders.catalog import CATALOG
from tfhub_ft.encoders.hub_api_check import Finding
from tfhub_ft.utils.errors import InputError, RunError


def invoke(*arguments):
    return CliRunner().invoke(command, arguments, catch_exceptions=False).output


def test_list_and_show_print_the_catalog():
    table, rows = invoke("list"), json.loads(invoke("list", "--json"))
    assert [row["name"] for row in rows] == [entry.name for entry in CATALOG]
    assert all(entry.name in table for entry in CATALOG)
    assert "hidden size     384" in invoke("show", "minilm-l6")
    with pytest.raises(InputError, match="bert-base-uncased"):
        invoke("show", "bert-bse-uncased")


def test_pull_prints_the_folders(replace):
    call = replace("tfhub_ft.encoders.resolve.resolve", SimpleNamespace(encoder=Path("a"), preprocessor=Path("b")))
    assert invoke("pull", "minilm-l6").split() == ["encoder", "a", "preprocessor", "b"]
    assert call.args == ("minilm-l6", None)


def test_pull_downloads_language_models(replace):
    replace("tfhub_ft.language_models.presets.preset_folder", Path("a"))
    assert invoke("pull", "smollm2-135m-instruct").split() == ["language", "model", "a"]


@pytest.mark.parametrize("ok", [True, False])
def test_verify_prints_findings_and_fails(replace, ok):
    replace("tfhub_ft.encoders.hub_api_check.verify_encoder", [Finding("inputs", ok, "three")])
    if not ok:
        with pytest.raises(RunError, match="does not follow the TF Hub text API: inputs"):
            invoke("verify", "encoder", "--json")
    else:
        assert invoke("verify", "encoder") == "ok      inputs: three\n"


def test_convert_prints_the_maximum_difference(replace):
    report = SimpleNamespace(model_type="bert", pooled="the pooler", max_difference=1e-6, rows=4)
    call = replace("tfhub_ft.encoders.convert.convert_checkpoint", report)
    assert "1.0e-06 on 4 rows" in invoke("convert", "checkpoint", "mine")
    assert call.args == ("checkpoint", "mine")
