"""Rare labels that a training run drops are also dropped when its rows are read again."""

import json

import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews
from tfhub_ft.evaluation.compare_runs import compare
from tfhub_ft.training.dry_run import dry_run
from tfhub_ft.training.prepare import prepare
from tfhub_ft.utils.errors import InputError

SETTINGS = {name: value for name, value in TINY_SETTINGS.items() if name != "dropout"} | {"epochs": 1}


def write_rows(path, rows):
    path.write_text("".join(json.dumps({"text": text, "labels": labels}) + "\n" for text, labels in rows))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rows = [(text, [label, "short"] if len(text) < 40 else [label]) for text, label in make_reviews(80)]
    rows[3][1].append("rare")
    rows += [(f"odd {number}", ["odd"]) for number in range(2)]
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", rows)


@pytest.fixture(scope="module")
def run(data, tiny_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return tfhub_ft.train("multilabel", data=data, min_label_rows=3, encoder=tiny_pair, output_dir=folder, **SETTINGS)


def test_run_stores_dropped_labels(run, data, tmp_path, capsys):
    assert run.labels == ["negative", "positive", "short"]
    assert run.dropped_labels == {"odd": 2, "rare": 1}
    assert sum(split["rows"] for split in run.splits.values()) == 82
    capsys.readouterr()
    scores = tfhub_ft.evaluate(run, data=data)
    err = capsys.readouterr().err
    assert f"{data}: dropped 2 rare labels by number of rows: odd: 2, rare: 1" in err
    assert "Warning" not in err
    assert (scores["rows"], "unseen_label_rows" in scores) == (82, False)
    new = write_rows(tmp_path / "new.jsonl", [("good film", ["positive", "new"]), ("bad film", ["rare"])])
    assert tfhub_ft.evaluate(run, data=new)["unseen_label_rows"] == 1
    assert compare(run, run)["rows"] == run.splits["test"]["rows"]
    tfhub_ft.export(run, output_dir=tmp_path / "export")
    exports = json.loads((tmp_path / "export" / "export.json").read_text())
    assert exports["dropped_labels"] == ["odd", "rare"]


def test_prepare_drops_rare_labels(run, data, tiny_pair, tmp_path):
    settings = {"encoder": str(tiny_pair), "seq_length": SETTINGS["seq_length"]}
    prepared = prepare("multilabel", data=data, min_label_rows=3, output_dir=tmp_path / "rows", **settings)
    assert prepared.index["labels"] == run.labels
    plan = dry_run("multilabel", prepared=prepared.path, **SETTINGS | {"encoder": str(tiny_pair)})
    assert plan["splits"]["train"]["rows"] == run.splits["train"]["rows"]
    with pytest.raises(InputError, match="--min-label-rows 9: the rows in .* were prepared with 3"):
        dry_run("multilabel", prepared=prepared.path, min_label_rows=9, encoder=str(tiny_pair), **SETTINGS)
