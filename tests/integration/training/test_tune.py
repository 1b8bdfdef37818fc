import pytest
import yaml
from click.testing import CliRunner

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.cli.main import group
from tfhub_ft.settings import option_name
from tfhub_ft.training.tune import tune
from tfhub_ft.utils.errors import InputError

SEARCH = ("learning_rate=1e-5..5e-3", "freeze=none,all-but-pooler")


def test_tune_continues_and_writes_settings_for_train(tiny_pair, reviews_csv, tmp_path):
    pytest.importorskip("optuna")
    settings = {**TINY_SETTINGS, "data": str(reviews_csv), "encoder": str(tiny_pair), "epochs": 2}
    settings["monitor"] = "log_loss"
    rows = tune("sentiment", output_dir=tmp_path / "search", trials=1, search=SEARCH, **settings)
    assert len(rows) == 1
    more = tune("sentiment", output_dir=tmp_path / "search", trials=2, search=SEARCH, **settings)
    assert len(more) == 2
    assert all(row in more for row in rows)
    trials = sorted((tmp_path / "search" / "trials").iterdir())
    losses = [tfhub_ft.Run(path).metrics["validation"]["log_loss"] for path in trials]
    assert [row["score"] for row in more] == sorted(losses)
    assert [path.name for path in trials] == ["000", "001"]
    assert not list(trials[0].rglob("*.keras"))
    assert "test" not in tfhub_ft.Run(trials[0]).metrics

    best = yaml.safe_load((tmp_path / "search" / "best.yaml").read_text())
    assert (best["learning_rate"], best["freeze"]) == (more[0]["learning_rate"], more[0]["freeze"])
    run = tfhub_ft.train("sentiment", config=tmp_path / "search" / "best.yaml", output_dir=tmp_path / "run")
    assert run.settings.learning_rate == more[0]["learning_rate"]
    with pytest.raises(InputError, match="other settings"):
        tune("sentiment", output_dir=tmp_path / "search", trials=3, search=SEARCH[:1], **settings)
    with pytest.raises(InputError, match="without a search"):
        tune("sentiment", output_dir=tmp_path / "run", trials=3, search=SEARCH, **settings)


@pytest.mark.sample
def test_tune_command_prints_the_best_trial(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    settings = {**TINY_SETTINGS, "encoder": tiny_pair, "data": reviews_csv, "epochs": 1, "trials": 1}
    options = [str(part) for name, value in settings.items() for part in (option_name(name), value)]
    done = CliRunner().invoke(group, ["tune", "sentiment", "--output-dir", "search", "--search", SEARCH[0], *options])
    assert done.exit_code == 0, done.output
    assert "learning rate" in done.output
    assert "Best settings: search/best.yaml" in done.output
