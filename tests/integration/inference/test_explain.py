import csv
import json
import re

import pyarrow.parquet as parquet
import pytest
from click.testing import CliRunner

import tfhub_ft
from tfhub_ft.cli.main import group
from tfhub_ft.inference.predict import open_predictor
from tfhub_ft.utils.errors import InputError


@pytest.fixture(scope="module")
def by_run(tiny_run):
    return open_predictor(tiny_run)


def test_predict_explains_predictions(tiny_run, by_run):
    plain = tfhub_ft.predict(by_run, ["a good film", "terrible"])
    explained = tfhub_ft.predict(by_run, ["a good film", "terrible"], explain=True)
    for one, other in zip(plain, explained):
        assert other["score"] == pytest.approx(one["score"], abs=1e-5)
        assert set(other) - set(one) == {"explanation", "explanation_error"}
    words = explained[0]["explanation"]
    assert [word["text"] for word in words] == ["a", "good", "film"]
    assert any(word["attribution"] for word in words)
    # The kernels of a model in bfloat16 are rounded, those of explanations are not.
    rounded = open_predictor(tiny_run, precision="bfloat16")
    tfhub_ft.predict(rounded, ["a good film"])
    other = tfhub_ft.predict(rounded, ["a good film"], explain=True)[0]["explanation"]
    for one, same in zip(words, other):
        assert same == {**one, "attribution": pytest.approx(one["attribution"], abs=1e-4)}


def test_predict_refuses_to_explain_exports(tiny_export):
    with pytest.raises(InputError, match="--explain: .* is an export, which computes no gradients; pass its run"):
        tfhub_ft.predict(tiny_export, ["good"], explain=True)


def test_predict_rejects_other_values_of_explain(by_run):
    with pytest.raises(InputError, match="explain: expected True or False, got a str"):
        tfhub_ft.predict(by_run, ["good"], explain="yes")


def test_predict_command_prints_explanations(tiny_run, tmp_path):
    (tmp_path / "rows.csv").write_text("id,text\n1,a good film\n2,\n3,terrible\n")
    run = CliRunner().invoke
    done = run(group, ["predict", str(tiny_run), "--input", str(tmp_path / "rows.csv"), "--explain"])
    first, blank, third = done.stdout.splitlines()
    assert first.split("\t")[2] == "a good film"
    assert re.search(r"\bgood [+-]\d\.\d\d\b", first.split("\t")[3])
    assert blank == "-\t-\t\t-"
    assert third.split("\t")[3].startswith("terrible ")
    done = run(group, ["predict", str(tiny_run), "--explain", "--json", "a good film"])
    assert [word["text"] for word in json.loads(done.stdout)["explanation"]] == ["a", "good", "film"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_predict_command_writes_explanations(tiny_run, tmp_path, suffix):
    (tmp_path / "rows.csv").write_text("id,text\n1,a good film\n2,\n")
    output = tmp_path / f"out.{suffix}"
    arguments = ["predict", str(tiny_run), "--input", str(tmp_path / "rows.csv"), "--explain", "--output", str(output)]
    assert CliRunner().invoke(group, arguments).exit_code == 0
    if suffix in ("jsonl", "parquet"):
        rows = map(json.loads, output.open()) if suffix == "jsonl" else parquet.read_table(output).to_pylist()
        first, blank = rows
        assert [word["text"] for word in first["explanation"]] == ["a", "good", "film"]
        assert blank["explanation"] is None
    else:
        first, blank = csv.DictReader(output.read_text().splitlines())
        assert [word["text"] for word in json.loads(first["explanation"])] == ["a", "good", "film"]
        assert float(first["explanation_error"]) < 0.01
        assert blank["explanation"] == ""


def test_predict_adds_explanations_to_frames(tiny_run, by_run):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"id": [7, 8], "text": ["a good film", None]}, index=[3, 4])
    predicted = tfhub_ft.predict(by_run, frame, explain=True)
    assert list(predicted.index) == [3, 4]
    assert list(predicted.columns[:3]) == ["id", "text", "label"]
    assert [word["text"] for word in predicted["explanation"][3]] == ["a", "good", "film"]
    assert set(predicted["explanation"][3][0]) == {"text", "start", "end", "attribution"}
    assert predicted["explanation"][4] is None
