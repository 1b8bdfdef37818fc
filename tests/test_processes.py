import subprocess
import sys

import pytest

from tfhub_ft.processes import child_environment


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is of Python 3.11")
def test_child_environment_keeps_modules_of_the_working_folder_out(tmp_path):
    (tmp_path / "random.py").write_text("raise SystemExit('the random.py of the user was run')")
    for command in (["-c", "import random"], ["-m", "random", "--help"]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=child_environment(), capture_output=True)
        assert b"of the user" not in done.stderr


def test_child_environment_makes_output_utf8(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    done = subprocess.run([sys.executable, "-c", "print('é😀')"], env=child_environment(), capture_output=True)
    assert done.stdout.decode("utf-8").strip() == "é😀"
