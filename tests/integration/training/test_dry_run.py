import json

import pytest
from click.testing import CliRunner

from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.cli.main import group
from tfhub_ft.settings import option_name
from tfhub_ft.training.dry_run import dry_run


def test_dry_run_returns_rows_tokens_weights_and_cost(tiny_pair, reviews_csv):
    plan = dry_run("sentiment", data=reviews_csv, encoder=tiny_pair, **TINY_SETTINGS)
    assert [split["rows"] for split in plan["splits"].values()] == [112, 24, 24]
    assert sum(plan["splits"]["train"]["labels"].values()) == 112
    assert plan["tokens"]["p50"] <= plan["tokens"]["p95"] <= plan["tokens"]["longest"]
    assert plan["weights"]["trained"] <= plan["weights"]["all"]
    assert plan["steps_an_epoch"] == -(-112 // TINY_SETTINGS["batch_size"])
    assert plan["epochs"] == TINY_SETTINGS["epochs"]
    assert 0 < plan["seconds_an_epoch"] < plan["seconds"]
    assert plan["peak_memory_bytes"] > 1e8
    assert plan["settings"]["seq_length"] == TINY_SETTINGS["seq_length"]
    json.dumps(plan)


def test_dry_run_warns_of_truncated_and_repeated_rows(tiny_pair, tmp_path, capsys):
    rows = make_reviews(100)
    other = "negative" if rows[1][1] == "positive" else "positive"
    write_csv(tmp_path / "train.csv", [*rows, rows[0], (rows[1][0], other)])
    write_csv(tmp_path / "test.csv", [rows[0], (rows[1][0].upper(), other), *make_reviews(20, seed=9)])
    plan = dry_run(
        "sentiment", train=tmp_path / "train.csv", test=tmp_path / "test.csv", encoder=tiny_pair, seq_length=5,
        freeze="all",
    )  # fmt: skip
    warnings = "\n".join(plan["warnings"])
    err = capsys.readouterr().err
    for words in ("longer than --seq-length 5", "repeat the text", "more than one", "test rows repeat a text"):
        assert words in warnings
        assert err.count(words) == 1
    assert plan["splits"]["test"]["also_in_training"] == 2
    assert "2 of 22 test rows repeat a text of the training rows" in warnings
    assert plan["seconds_an_epoch"] is None
    assert plan["tokens"]["longest"] > 5


@pytest.mark.filterwarnings("error:Gradients do not exist")
def test_dry_run_does_not_warn_of_an_unused_pooler(tiny_pair, reviews_csv):
    assert dry_run("spam", data=reviews_csv, encoder=tiny_pair, seq_length=24)["warnings"] == []


@pytest.mark.sample
def test_dry_run_command_writes_no_files(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {**TINY_SETTINGS, "encoder": tiny_pair, "data": reviews_csv}
    options = [str(part) for name, value in settings.items() for part in (option_name(name), value)]
    done = CliRunner().invoke(group, ["train", "sentiment", "--dry-run", *options])
    assert done.exit_code == 0, done.output
    for words in ("label negative", "trainable weights", "total time", "Nothing was trained."):
        assert words in done.output
    assert list(tmp_path.iterdir()) == []


def test_dry_run_plans_the_minimum_number_of_steps(tiny_pair, reviews_csv):
    settings = {"data": reviews_csv, "encoder": tiny_pair, "seq_length": 24}
    plan = dry_run("sentiment", **settings)
    assert (plan["epochs"], plan["steps_an_epoch"]) == (25, 4)
    assert plan["settings"]["patience"] == 17
    assert dry_run("sentiment", min_steps=30, patience=3, **settings)["settings"]["patience"] == 3
    assert dry_run("sentiment", epochs=2, **settings)["epochs"] == 2
    assert dry_run("sentiment", min_steps=0, **settings)["epochs"] == 3


def test_dry_run_counts_truncated_rows(tiny_pair, tmp_path, capsys):
    rows = [(f"{text} {'so nice ' * (20 if number % 3 == 0 else 0)}", label)
            for number, (text, label) in enumerate(make_reviews(60))]  # fmt: skip
    plan = dry_run("sentiment", train=write_csv(tmp_path / "rows.csv", rows), encoder=tiny_pair, seq_length=24)
    assert plan["tokens"]["rows"] == 51
    assert 15 <= plan["tokens"]["truncated"] <= 20
    err = capsys.readouterr().err
    assert f"{plan['tokens']['truncated']} of 51 train rows" in err
    assert "pass --long-texts windows or a larger --seq-length" in err
    assert f"95% of the training rows fit into --seq-length {-(-int(plan['tokens']['p95']) // 8) * 8}" in err
    settings = {"encoder": tiny_pair, "seq_length": 24, "long_texts": "windows"}
    windows = dry_run("sentiment", train=tmp_path / "rows.csv", **settings)
    assert windows["tokens"]["truncated"] == 0
    assert windows["tokens"]["longest"] == plan["tokens"]["longest"]
    assert windows["tokens"]["windows"] > 51 + plan["tokens"]["truncated"]
    assert windows["steps_an_epoch"] > plan["steps_an_epoch"]
    assert "longer than" not in capsys.readouterr().err
