"""The environment of the Python processes that this package starts, and processes that were forked from another."""

import os
import sys

from tfhub_ft.errors import InputError

_forked_from_tensorflow = False


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a child process that runs Python.

    The child does not import modules of the working folder, where a `random.py` of the user's would replace Python's,
    and its output is UTF-8 whatever the console's encoding is.

    Args:
        variables: further environment variables.

    Example:
        subprocess.run([sys.executable, "-m", "pip", "--version"], env=child_environment())
    """
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8", **variables}


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
    eager = sys.modules.get("tensorflow.python.eager.context")
    context = eager and eager.context_safe()
    _forked_from_tensorflow |= bool(context and context._initialized)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_record_fork)
