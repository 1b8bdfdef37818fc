import pytest
from click.testing import CliRunner

from tfhub_ft.cli.launch import command


@pytest.mark.parametrize("code", [0, 7])
def test_launch_passes_arguments_and_exit_code(monkeypatch, code):
    calls = []
    monkeypatch.setattr("tfhub_ft.training.launch.launch", lambda *arguments: calls.append(arguments) or code)
    done = CliRunner().invoke(command, ["--workers", "2", "--", "train", "spam", "--epochs", "3"])
    assert done.exit_code == code
    assert calls == [(("train", "spam", "--epochs", "3"), 2)]


def test_launch_requires_workers():
    assert CliRunner().invoke(command, ["--workers", "0", "--", "train"]).exit_code == 2
