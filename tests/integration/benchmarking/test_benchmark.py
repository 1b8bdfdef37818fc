import json
import shutil

import pytest
from click.testing import CliRunner

import tfhub_ft
from tests.conftest import make_reviews, write_csv
from tfhub_ft.cli.main import group
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import folder_bytes

FIGURES = {
    "form", "path", "quantization", "reads", "bytes", "peak_memory_bytes", "load_seconds", "latency_ms",
    "rows_per_second", "batch_size", "scores", "agreement",
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tiny_run, tiny_export, tmp_path_factory):
    """A read-only export folder with a SavedModel, TFLite files that read tokens, and an ONNX file."""
    folder = tmp_path_factory.mktemp("exports") / "reviews"
    shutil.copytree(tiny_export, folder)
    tfhub_ft.export(tiny_run, output_dir=folder, formats=("tflite",), quantize=("none", "dynamic"))
    tfhub_ft.export(tiny_run, output_dir=folder, formats=("onnx",), quantize=("none",))
    return folder


@pytest.fixture(scope="module")
def measured(exported, reviews_csv):
    return tfhub_ft.benchmark(exported, data=reviews_csv)


def test_benchmark_measures_every_artifact(measured, exported):
    assert [(each["form"], each["quantization"], each["reads"]) for each in measured] == [
        ("saved_model", "none", "text"),
        ("saved_model", "none", "tokens"),
        ("tflite", "none", "tokens"),
        ("onnx", "none", "tokens"),
        ("tflite", "dynamic", "tokens"),
    ]
    for each in measured:
        assert set(each) == FIGURES
        assert each["bytes"] == folder_bytes(exported / each["path"])
        assert 0 < each["latency_ms"]["p50"] <= each["latency_ms"]["p95"]
        assert each["load_seconds"] > 0
        assert each["rows_per_second"] > 0
    memory = {(each["form"], each["reads"]): each["peak_memory_bytes"] for each in measured}
    assert 10e6 < memory["tflite", "tokens"] < memory["saved_model", "text"] / 2


def test_benchmark_scores_equal_evaluate(measured, tiny_run, reviews_csv):
    expected = tfhub_ft.evaluate(tiny_run, data=reviews_csv)
    for each in measured:
        if each["quantization"] == "none":
            assert each["scores"] == {name: pytest.approx(expected[name]) for name in ("accuracy", "f1")}
            assert each["agreement"] == 1
        assert each["agreement"] >= 0.9


@pytest.mark.slow
def test_benchmark_measures_files_that_read_texts(tiny_run, tiny_export, reviews_csv, tmp_path):
    folder = shutil.copytree(tiny_export, tmp_path / "reviews")
    tfhub_ft.export(tiny_run, output_dir=folder, formats=("tflite_text",), quantize=("none",))
    *_, measured = tfhub_ft.benchmark(folder, data=reviews_csv)
    assert (measured["form"], measured["reads"], measured["agreement"]) == ("tflite_text", "text", 1)


def copy_some(exported, folder, wanted):
    """Copy an export folder; export.json names only some of its artifacts."""
    shutil.copytree(exported, folder, ignore=shutil.ignore_patterns("benchmark.*"))
    exports = json.loads((folder / "export.json").read_text())
    exports["forms"] = [entry for entry in exports["forms"] if wanted(entry)]
    (folder / "export.json").write_text(json.dumps(exports))
    return folder


def test_benchmark_agreement_counts_equal_predictions(exported, measured, reviews_csv, tmp_path):
    from tfhub_ft.export_folder import read_description, read_tokenizer_vocabulary
    from tfhub_ft.exports.tflite_metadata import write_with_metadata

    folder = copy_some(exported, tmp_path / "reviews", lambda entry: entry["form"] == "tflite")
    file = folder / "tflite" / "reviews_dynamic.tflite"
    description, vocabulary = read_description(file), read_tokenizer_vocabulary(file)
    description["labels"] = description["labels"][::-1]
    write_with_metadata(file.read_bytes(), file, description, summary="Reviews.", vocabulary=vocabulary)
    with pytest.raises(InputError, match=r"reviews_dynamic\.tflite: was changed since it was exported"):
        tfhub_ft.benchmark(folder, data=reviews_csv)
    exports = json.loads((folder / "export.json").read_text())
    without = [{name: value for name, value in entry.items() if name != "sha256"} for entry in exports["forms"]]
    (folder / "export.json").write_text(json.dumps({**exports, "forms": without}))
    agreement = next(each["agreement"] for each in measured if each["path"] == "tflite/reviews_dynamic.tflite")
    assert tfhub_ft.benchmark(folder, data=reviews_csv)[-1]["agreement"] == pytest.approx(1 - agreement)


def test_benchmark_writes_its_results(measured, exported):
    written = json.loads((exported / "benchmark.json").read_text())
    assert written["forms"] == measured
    assert (written["rows"], written["timed_rows"]) == (160, 160)
    assert (exported / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in exported.iterdir() if path.name.startswith(".")]


def test_benchmark_command_prints_a_table(exported, tmp_path):
    folder = copy_some(exported, tmp_path / "reviews", lambda entry: entry["form"] == "tflite")
    shutil.rmtree(folder / "1")
    rows = write_csv(tmp_path / "few.csv", [*make_reviews(8), ("a film", "lukewarm")])
    picture = tmp_path / "picture.svg"
    with rows.open("a") as file:
        file.write(",positive\n")
    arguments = ["benchmark", str(folder), "--data", str(rows), "--picture", str(picture), "--skip-bad-rows"]
    shown = CliRunner().invoke(group, arguments, catch_exceptions=False).stdout
    assert max(map(len, shown.splitlines())) <= 120
    for expected in ("TFLite dynamic", "p50 ms", "accuracy", "agreement", "100.00%"):
        assert expected in shown
    assert "<svg" in picture.read_text()
    printed = CliRunner().invoke(group, [*arguments, "--json"], catch_exceptions=False).stdout
    assert [each["quantization"] for each in json.loads(printed)] == ["none", "dynamic"]
    # Training rows lack the label lukewarm.
    assert [each["scores"]["accuracy"] <= 8 / 9 for each in json.loads(printed)] == [True, True]


def test_benchmark_reads_the_columns_of_the_run(exported, reviews_csv, tmp_path):
    folder = copy_some(exported, tmp_path / "reviews", lambda entry: entry["path"].endswith("s_dynamic.tflite"))
    renamed = write_csv(tmp_path / "renamed.csv", make_reviews(8), header=("opinion", "verdict"))
    with pytest.raises(InputError, match=r"renamed\.csv: column 'text' .*name one of them with --text-column"):
        tfhub_ft.benchmark(folder, data=renamed)
    exports = json.loads((folder / "export.json").read_text())
    exports["columns"] = {"text_column": "opinion", "label_column": "verdict"}
    (folder / "export.json").write_text(json.dumps(exports))
    (only,) = tfhub_ft.benchmark(folder, data=renamed)
    assert only["agreement"] == 1


def test_benchmark_refuses_invalid_exports_and_rows(exported, reviews_csv, tmp_path):
    def refused(folder, data, match):
        with pytest.raises(InputError, match=match):
            tfhub_ft.benchmark(folder, data=data)

    refused(tmp_path, reviews_csv, r"export\.json: No such file or directory; tfhub-ft export")
    refused(exported, tmp_path / "none.csv", r"none\.csv: not found")
    folder = copy_some(exported, tmp_path / "reviews", lambda entry: True)
    (folder / "onnx" / "reviews.onnx").unlink()
    refused(folder, reviews_csv, r"reviews/onnx/reviews\.onnx: not found, but .*export\.json names")
    refused(
        copy_some(exported, tmp_path / "none", lambda entry: False), reviews_csv, r"export\.json: names no artifacts"
    )
    only_onnx = copy_some(exported, tmp_path / "onnx", lambda entry: entry["form"] == "onnx")
    refused(only_onnx, reviews_csv, r"has only ONNX files, which read tokens; export a SavedModel")
    assert not (folder / "benchmark.png").exists()
