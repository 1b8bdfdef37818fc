"""Start Python child processes, and detect forked ones."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tfhub_ft.utils.devices import QUIET_AND_ON_CPU
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import write_fault
from tfhub_ft.utils.keras_compat import is_tensorflow_started

_forked_from_tensorflow = False


def python_command(code: str, *arguments: str) -> list[str]:
    """Return a command that runs Python code, which can import this package and not the working directory."""
    # Python 3.10 lacks PYTHONSAFEPATH: nothing is imported before the working directory is removed from the path.
    safe = f"import sys\nsys.path[:] = [*filter(None, sys.path), {str(Path(__file__).parents[2])!r}]\n"
    return [sys.executable, "-c", safe + code, *arguments]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return a command that runs a module, as `python_command` runs code."""
    return python_command(f"import runpy\nrunpy.run_module({module!r}, None, '__main__', True)", *arguments)


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a Python child process, with further variables.

    It and its children do not import from the working directory, where a `random.py` would replace Python's, and their
    output is UTF-8.
    """
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8", **variables}


def run_quietly(command: Sequence[str], failure: str, **variables: str) -> None:
    """Run a command on the CPU; if it fails, raise a RunError with `failure` and the last line of its stderr."""
    environment = child_environment(**QUIET_AND_ON_CPU, **variables)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"killed by signal {-done.returncode}"])[-1]
        if fault := write_fault(OSError(reason), f"a file in {tempfile.gettempdir()}"):
            raise fault
        raise RunError(f"{failure} in an isolated process: {reason}")


def check_not_forked(name: str, loaded_in: int | None = None) -> None:
    """Raise an InputError if this process was forked after TensorFlow started, whose threads are missing here.

    `name` is about to use TensorFlow, and was loaded in the process of id `loaded_in`, if at all.
    """
    if _forked_from_tensorflow or loaded_in not in (None, os.getpid()):
        raise InputError(
            f"{name}: this process was forked after TensorFlow started, which hangs in it; load and call predictors in"
            " the workers only (gunicorn: without --preload), or start workers by spawn"
        )


def _record_fork() -> None:
    global _forked_from_tensorflow
    _forked_from_tensorflow |= is_tensorflow_started()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_record_fork)
