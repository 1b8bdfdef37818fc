"""What tests of commands share."""

import subprocess
import sys

import pytest

from tfhub_ft.cli.main import main


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Run the command in `tmp_path`, in this process, which has TensorFlow already."""

    def call(*arguments, cwd=tmp_path):
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        monkeypatch.setattr(sys, "argv", ["tfhub-ft", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, done.value.code, said.out, said.err)

    return call
