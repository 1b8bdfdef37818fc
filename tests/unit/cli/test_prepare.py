from pathlib import Path
from types import SimpleNamespace

from click.testing import CliRunner

from tfhub_ft.cli.prepare import command


def test_prepare_prints_the_shards_and_the_next_command(replace):
    splits = {"train": {"rows": 1234, "shards": ["a", "b"]}, "test": {"rows": 5, "shards": ["c"]}}
    call = replace("tfhub_ft.training.prepare.prepare", SimpleNamespace(path=Path("rows/one"), splits=splits))
    options = ["spam", "--output-dir", "rows/one", "--shards", "2", "--train", "rows.csv"]
    shown = CliRunner().invoke(command, options, catch_exceptions=False).output
    assert call.args == ("spam",)
    assert call.kwargs == {"output_dir": "rows/one", "shards": 2, "train": "rows.csv"}
    assert "rows/one: 1,234 train rows in 2, 5 test rows in 1 shards" in shown
    assert "tfhub-ft train spam --prepared rows/one" in shown


def test_prepare_only_takes_settings_of_rows():
    done = CliRunner().invoke(command, ["spam", "--output-dir", "rows/one", "--epochs", "2"])
    assert done.exit_code == 2
    assert "--epochs" in done.output
