"""The environment of the Python processes that this package starts, and processes that were forked from another."""

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
    """Return the command of a child process that runs code, and imports nothing of the working folder.

    Args:
        code: the program. It finds this package, wherever that is.
        arguments: of the program.
    """
    # Python up to 3.10 knows no safe path; nothing is imported before the working folder is off it.
    safe = f"import sys\nsys.path[:] = [*filter(None, sys.path), {str(Path(__file__).parents[2])!r}]\n"
    return [sys.executable, "-c", safe + code, *arguments]


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command of a child process that runs a module, as `python_command` runs code.

    Example:
        subprocess.run(module_command("pip", "--version"), env=child_environment())
    """
    return python_command(f"import runpy\nrunpy.run_module({module!r}, None, '__main__', True)", *arguments)


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a child process that runs Python.

    Its processes, too, import no module of the working folder, where a `random.py` of the user's would replace
    Python's, and its output is UTF-8 whatever the console's encoding is.

    Args:
        variables: further environment variables.

    Example:
        subprocess.run(module_command("pip", "--version"), env=child_environment())
    """
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8", **variables}


def run_quietly(command: Sequence[str], failure: str, **variables: str) -> None:
    """Run a child process to its end, on the CPU.

    Args:
        command: the program and its arguments.
        failure: the error without its reason.
        variables: further environment variables.

    Raises:
        RunError: the process failed; the reason is the last line that it wrote.

    Example:
        run_quietly(module_command("pip", "--version"), "pip cannot be run")
    """
    environment = child_environment(**QUIET_AND_ON_CPU, **variables)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"it was killed by signal {-done.returncode}"])[-1]
        if fault := write_fault(OSError(reason), f"a file in {tempfile.gettempdir()}"):
            raise fault
        raise RunError(f"{failure} in a fresh process: {reason}")


def check_not_forked(name: str, loaded_in: int | None = None) -> None:
    """Raise an InputError where this process was forked after TensorFlow was started.

    TensorFlow's threads are not in such a process, and whoever waits for one of them waits forever.

    Args:
        name: what is about to use TensorFlow.
        loaded_in: the id of the process that loaded it; None where it is not loaded.
    """
    if _forked_from_tensorflow or loaded_in not in (None, os.getpid()):
        raise InputError(
            f"{name}: this process was forked after TensorFlow was started, which never answers in it; load and call"
            " predictors in the worker alone (gunicorn: without --preload), or start workers by spawn"
        )


def _record_fork() -> None:
    global _forked_from_tensorflow
    _forked_from_tensorflow |= is_tensorflow_started()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_record_fork)
