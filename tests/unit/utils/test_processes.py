import os
import subprocess
import sys

import pytest

import tfhub_ft
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.processes import check_not_forked, child_environment, module_command, python_command


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is of Python 3.11")
def test_child_environment_hides_working_directory(tmp_path):
    (tmp_path / "random.py").write_text("raise SystemExit('the random.py of the user was run')")
    for command in (["-c", "import random"], ["-m", "random", "--help"]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=child_environment(), capture_output=True)
        assert b"of the user" not in done.stderr


@pytest.mark.parametrize("command", [python_command("import random"), module_command("tfhub_ft.utils.processes")])
def test_commands_hide_working_directory(command, tmp_path):
    for name in ("random", "runpy", "os"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the module of the user was run')")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_command_passes_arguments(tmp_path):
    command = python_command("import tfhub_ft; print(tfhub_ft.__file__, *sys.argv[1:])", "a", "-b")
    done = subprocess.run(command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True)
    assert done.stdout.split() == [tfhub_ft.__file__, "a", "-b"]


def test_child_environment_sets_utf8_output(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    done = subprocess.run([sys.executable, "-c", "print('é😀')"], env=child_environment(), capture_output=True)
    assert done.stdout.decode("utf-8").strip() == "é😀"


def test_check_not_forked_compares_process_ids():
    check_not_forked("runs/one", os.getpid())
    check_not_forked("runs/one")
    with pytest.raises(InputError, match="^runs/one: this process was forked after"):
        check_not_forked("runs/one", os.getpid() + 1)
