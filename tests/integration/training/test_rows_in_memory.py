"""Training, scoring, tuning and distilling on rows in memory."""

import html
import json
import shutil
from typing import Any

import pytest
import yaml

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError

PAIRS = make_reviews(160)
ROWS = [{"text": text, "label": label} for text, label in PAIRS]
TEXTS, LABELS = map(list, zip(*PAIRS))


def frame(rows: Any = ROWS) -> Any:
    return pytest.importorskip("pandas").DataFrame(rows)


def tensors() -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(7)


CONTAINERS = {
    "pandas": frame,
    "tf.data": tensors,
    "dicts": lambda: ROWS,
    "arrays": lambda: (TEXTS, LABELS),
    "polars": lambda: pytest.importorskip("polars").DataFrame(ROWS),
    "pyarrow": lambda: pytest.importorskip("pyarrow").Table.from_pylist(ROWS),
    "datasets": lambda: pytest.importorskip("datasets").Dataset.from_list(ROWS),
}
FAST = ("pandas",)


def train(tiny_pair, folder, **settings):
    return tfhub_ft.train("sentiment", output_dir=folder, encoder=tiny_pair, **{**TINY_SETTINGS, **settings})


@pytest.fixture(scope="module")
def runs(tiny_pair, tmp_path_factory):
    """A run on a frame without a copy of its rows, and one on the same rows with it."""
    folder = tmp_path_factory.mktemp("memory")
    settings = {"epochs": 1, "data": frame()}
    return train(tiny_pair, folder / "one", **settings), train(
        tiny_pair, folder / "other", **settings, copy_data=True, seed=1
    )


@pytest.mark.parametrize(
    "container", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CONTAINERS]
)
def test_train_gives_the_run_of_the_same_rows_in_a_csv_file(container, tiny_run, tiny_pair, tmp_path):
    run, file_run = train(tiny_pair, tmp_path / "run", data=CONTAINERS[container]()), Run(tiny_run)
    for split in ("validation", "test"):
        assert run.metrics[split] == file_run.metrics[split]
    assert (run.path / "history.csv").read_text().split("\n")[-2].split(",")[:3] == (
        (tiny_run / "history.csv").read_text().split("\n")[-2].split(",")[:3]
    )
    texts = [[row.values["text"] for row in each.kept_rows.test] for each in (run, file_run)]
    assert texts[0] == texts[1]
    for one, other in zip(run.load_model().get_weights(), file_run.load_model().get_weights(), strict=True):
        assert (one == other).all()


def test_a_run_on_a_frame_records_what_it_was_trained_on(runs):
    run, copied = runs
    split = run.splits["train"]
    assert yaml.safe_load((run.path / "recipe.yaml").read_text())["data"] == "DataFrame in memory"
    assert (split["file"], len(split["sha256"]), len(split["lines"])) == ("DataFrame in memory", 64, split["rows"])
    report = html.unescape((run.path / "report.html").read_text())
    assert f"DataFrame in memory (SHA-256 {split['sha256']})" in report
    assert "<pre>tfhub_ft.train('sentiment', data=..., " in report
    assert {path.name for path in (copied.path / "rows").iterdir()} == {"train.jsonl", "validation.jsonl", "test.jsonl"}


def test_evaluate_scores_rows_in_memory(runs, tmp_path):
    run, _ = runs
    expected = tfhub_ft.evaluate(run, data=frame())
    assert expected["rows"] == 160
    rows = [*ROWS, {"text": ""}]
    assert tfhub_ft.evaluate(run, data=rows, skip_bad_rows=True, report=tmp_path / "report.html") == expected
    assert "rows of list" in (tmp_path / "report.html").read_text()
    with pytest.raises(InputError, match="^DataFrame, index 3: column 'text' is"):
        tfhub_ft.evaluate(run, data=frame([*ROWS[:3], {"text": None, "label": "positive"}]))


@pytest.mark.slow
def test_compare_reads_stored_rows_and_rows_in_memory(runs, capsys):
    run, copied = runs
    assert tfhub_ft.compare(copied, run)["rows"] == copied.splits["test"]["rows"]
    assert "its training rows are not found: data was a DataFrame in memory" in capsys.readouterr().err
    assert tfhub_ft.compare(run, copied)["rows"] == run.splits["test"]["rows"]
    assert tfhub_ft.compare(run, copied, data=frame())["rows"] == 160


@pytest.mark.slow
def test_distill_reads_the_rows_of_the_teacher(runs, tmp_path):
    run, copied = runs
    with pytest.raises(InputError, match="data was a DataFrame in memory, .*; pass the same rows again in Python, or"):
        tfhub_ft.distill(run, student="layers:1", output_dir=tmp_path / "missing")
    more = [text for text, _ in make_reviews(170)][160:]
    student = tfhub_ft.distill(copied, student="layers:1", output_dir=tmp_path / "student", epochs=1, unlabeled=more)
    assert student.splits["train"]["lines"] == copied.splits["train"]["lines"]
    description = yaml.safe_load((student.path / "distillation.yaml").read_text())
    assert (description["unlabeled"], description["rows"]["unlabeled"]) == ("list in memory", 10)
    assert student.load_rows().splits["test"].rows == copied.load_rows().splits["test"].rows
    again = tfhub_ft.distill(
        run, student="layers:1", output_dir=tmp_path / "again", epochs=1, data=ROWS, unlabeled=frame({"text": more})
    )
    assert again.splits["train"]["lines"] == run.splits["train"]["lines"]


def test_export_verifies_on_the_copy_of_the_rows(runs):
    from tfhub_ft.exports.verification_examples import verification_examples

    run, copied = runs
    examples = verification_examples(copied)
    assert examples.fault == ""
    assert examples.sources[0] == str(copied.path / "rows" / "validation.jsonl")
    assert verification_examples(run).sources == [str(run.path / "kept_rows.jsonl")]


@pytest.mark.slow
def test_benchmark_scores_rows_in_memory(tiny_export, tmp_path):
    folder = shutil.copytree(tiny_export, tmp_path / "export")
    results = tfhub_ft.benchmark(folder, data=frame(ROWS[:20]))
    assert results[0]["scores"]["accuracy"] is not None
    assert json.loads((folder / "benchmark.json").read_text())["data"] == "DataFrame in memory"


@pytest.mark.slow
def test_resume_continues_with_equal_rows(runs, tiny_pair, tmp_path, monkeypatch):
    run, _ = runs

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfhub_ft.training.results.score_trained", stop)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_pair, tmp_path / "run", epochs=1, data=frame())
    monkeypatch.undo()
    with pytest.raises(
        InputError, match="data was a DataFrame in memory, and --copy-data was not set; pass the same rows"
    ):
        tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True)
    resumed = tfhub_ft.train("sentiment", output_dir=tmp_path / "run", resume=True, data=ROWS)
    assert resumed.metrics["test"] == run.metrics["test"]


@pytest.mark.slow
def test_prepare_and_dry_run_read_rows_in_memory(tiny_pair, tmp_path):
    settings = {"encoder": tiny_pair, "seq_length": TINY_SETTINGS["seq_length"]}
    plan = tfhub_ft.dry_run("sentiment", data=frame(), **settings)
    assert plan["splits"]["train"]["rows"] == 112
    for rows in (frame(), ROWS):
        prepared = tfhub_ft.prepare("sentiment", data=rows, output_dir=tmp_path / "rows", **settings)
    assert prepared.splits["train"]["file"] == "DataFrame in memory"
    with pytest.raises(InputError, match="was prepared with other values"):
        tfhub_ft.prepare("sentiment", data=ROWS[::-1], output_dir=tmp_path / "rows", **settings)
    run = train(tiny_pair, tmp_path / "run", epochs=1, prepared=tmp_path / "rows")
    assert run.splits["train"]["rows"] == 112


@pytest.mark.slow
def test_tune_searches_on_rows_in_memory(tiny_pair, tmp_path):
    pytest.importorskip("optuna")
    settings = {**TINY_SETTINGS, "encoder": tiny_pair, "epochs": 1, "search": "learning_rate=1e-3,2e-3"}
    folder = tmp_path / "search"
    trials = tfhub_ft.tune("sentiment", data=frame(), output_dir=folder, trials=1, copy_data=True, **settings)
    assert len(trials) == 1
    assert not (folder / "trials" / "000" / "rows").exists()
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert (best["data"], best["copy_data"]) == ("DataFrame in memory", True)
    with pytest.raises(InputError, match="has a search with other settings or rows"):
        tfhub_ft.tune("sentiment", data=frame(ROWS[:90]), output_dir=folder, trials=2, copy_data=True, **settings)
    with pytest.raises(InputError, match=r"^--data DataFrame in memory: not a file; pass the rows in Python, as data="):
        tfhub_ft.train("sentiment", config=folder / "best.yaml", output_dir=tmp_path / "run")
