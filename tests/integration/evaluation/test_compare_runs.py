import io
import json
import os
import shutil

import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

import tfhub_ft
from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.cli.main import group
from tfhub_ft.evaluation.compare_runs import compare
from tfhub_ft.evaluation.console_tables import run_comparison_tables
from tfhub_ft.utils.errors import InputError


@pytest.fixture(scope="module")
def weak_run(tiny_pair, reviews_csv, tmp_path_factory):
    """Return a run like `tiny_run` with little training."""
    folder = tmp_path_factory.mktemp("runs") / "weak"
    settings = {**TINY_SETTINGS, "epochs": 1, "learning_rate": 1e-5}
    tfhub_ft.train("sentiment", data=reviews_csv, output_dir=folder, encoder=tiny_pair, **settings)
    return folder


@pytest.fixture(scope="module")
def comparison(weak_run, tiny_run):
    result = CliRunner().invoke(group, ["compare", str(weak_run), str(tiny_run), "--json"], catch_exceptions=False)
    return json.loads(result.stdout)


@pytest.mark.sample
def test_compare_returns_differences_of_two_runs(comparison, tiny_run):
    assert comparison["rows"] == 24
    assert comparison["settings"] == {"epochs": [1, 4], "learning_rate": [1e-5, 5e-3]}
    accuracy = comparison["scores"]["accuracy"]
    assert accuracy["other"] == tfhub_ft.Run(tiny_run).metrics["test"]["accuracy"]
    assert accuracy["difference"] == pytest.approx(accuracy["other"] - accuracy["one"])
    low, high = accuracy["interval"]
    assert 0 < low <= accuracy["difference"] <= high
    mcnemar, changed = comparison["mcnemar"], comparison["changed_rows"]
    assert (mcnemar["only_other_right"] - mcnemar["only_one_right"]) / 24 == pytest.approx(accuracy["difference"])
    assert mcnemar["p_value"] < 0.05
    assert comparison["changed"] == mcnemar["only_one_right"] + mcnemar["only_other_right"] == len(changed)


@pytest.mark.slow
def test_compare_of_a_run_with_itself_finds_no_differences(tiny_run, tmp_path):
    write_csv(tmp_path / "rows.csv", [*make_reviews(30, seed=3), ("", "positive")])
    compared = compare(tiny_run, tiny_run, data=tmp_path / "rows.csv", skip_bad_rows=True)
    assert compared["settings"] == {}
    assert (compared["changed"], compared["mcnemar"]["p_value"]) == (0, 1.0)
    assert compared["scores"]["accuracy"]["interval"] == [0, 0]


def test_run_comparison_tables_show_differences(comparison):
    console = Console(file=io.StringIO(), width=120)
    for table in run_comparison_tables(comparison, "runs/weak", "runs/tiny"):
        console.print(table)
    for words in ("learning_rate", "accuracy", "changed predictions", "runs/weak"):
        assert words in console.file.getvalue()


def test_compare_uses_the_rows_stored_in_the_run(tiny_run, tmp_path, capsys):
    one = shutil.copytree(tiny_run, tmp_path / "one")
    splits = json.loads((one / "splits.json").read_text())
    for split in splits.values():
        split |= {"sha256": "of other rows", "relative": os.path.relpath(split["file"], one)}
    (one / "splits.json").write_text(json.dumps(splits))
    expected = compare(tiny_run, tiny_run)
    capsys.readouterr()
    assert compare(one, tiny_run) == expected
    err = capsys.readouterr().err
    assert "has changed; comparing on 24 of its 24 test rows, which are stored in the run" in err
    assert "one" in compare(tiny_run, one)["scores"]["accuracy"]
    assert "has changed; cannot check whether it was trained on the rows of this comparison" in capsys.readouterr().err


def test_compare_rejects_different_or_unfinished_runs(tiny_run, tmp_path):
    rows = [(text, f"very {label}") for text, label in make_reviews(60)]
    write_csv(tmp_path / "rows.csv", rows)
    other = shutil.copytree(tiny_run, tmp_path / "other")
    (other / "labels.json").write_text('["very negative", "very positive"]')
    with pytest.raises(InputError, match="different labels"):
        compare(tiny_run, other)
    recipe = yaml.safe_load((other / "recipe.yaml").read_text())
    (other / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"data": str(tmp_path / "rows.csv")}))
    splits = json.loads((other / "splits.json").read_text())
    splits["train"]["relative"] = "../rows.csv"
    (other / "splits.json").write_text(json.dumps(splits))
    (other / "kept_rows.jsonl").unlink()
    with pytest.raises(InputError, match=r"rows\.csv has changed; restore them, or name rows with --data"):
        compare(other, other)
    (other / "metrics.json").unlink()
    with pytest.raises(InputError, match="did not finish"):
        compare(tiny_run, other)


def test_compare_of_an_export_names_benchmark(tiny_run, tiny_export):
    message = r"compare takes two runs; to measure an export, use tfhub-ft benchmark$"
    for call in (lambda: tfhub_ft.compare(tiny_export), lambda: tfhub_ft.compare(tiny_run, tiny_export)):
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(group, ["compare", str(tiny_export), "--data", "rows.csv"], catch_exceptions=False)
