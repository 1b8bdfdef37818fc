"""Errors that commands report as one line, with their exit codes."""

import difflib
from collections.abc import Iterable

from tfhub_ft.utils.keras_compat import OneLineError


class TfhubFtError(OneLineError):
    """Base class of the errors that commands report as one line, without a traceback.

    Args:
        message: What is wrong (with file, row, option or handle) and what to do. Line feeds become spaces.
    """

    exit_code = 1

    def __init__(self, message: str):
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class InputError(TfhubFtError):
    """An argument, an option or an input file is wrong. Exit code 2."""

    exit_code = 2


class UntrustedCode(InputError):
    """A model contains code that is not trusted and was not run; --trust runs it. Exit code 2."""


class RunError(TfhubFtError):
    """A task failed after it started; no partial files remain. Exit code 1."""


class Preempted(TfhubFtError):
    """Training was stopped by SIGTERM and can continue with --resume. Exit code 143."""

    exit_code = 143


class RowError(ValueError):
    """A row cannot be tokenized; callers that know its file and line raise an `InputError` with them.

    Args:
        row: Index of the row.
        message: What is wrong, to follow the line.
    """

    def __init__(self, row: int, message: str):
        super().__init__(message)
        self.row = row


def did_you_mean(name: str, known: Iterable[str], *, most: int = 2) -> str:
    """Return the question that ends an error about an unknown name; "" if no known name is similar."""
    similar = difflib.get_close_matches(name, known, n=most)
    return f"did you mean {' or '.join(similar)}?" if similar else ""


def first_line(error: BaseException) -> str:
    """Return the first line of the message of a library's error, or its type without one."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def kind_and_first_line(error: BaseException) -> str:
    """Return the type and the first line of the message of an unexpected error."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
