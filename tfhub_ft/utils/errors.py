"""The errors that users see: one clear line each, with the exit code that the command ends with."""

from tfhub_ft.utils.keras_compat import OneLineError


class TfhubFtError(OneLineError):
    """Base of the errors that a command reports as one line, without a traceback.

    The message names what is wrong (file, row, option or handle) and what to do. Line feeds in it, which texts of
    libraries have, become spaces.

    Args:
        message: the message.
    """

    exit_code = 1

    def __init__(self, message: str):
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class InputError(TfhubFtError):
    """The command line or an input is wrong; nothing was started."""

    exit_code = 2


class UntrustedCode(InputError):
    """A model brings a program that nobody says is trusted; it was not run."""


class RunError(TfhubFtError):
    """The work was started and failed; nothing half-written is left."""


class Preempted(TfhubFtError):
    """The work was told to stop by SIGTERM, and can go on where it stopped."""

    exit_code = 143


class RowError(ValueError):
    """A row cannot be made into tokens; whoever knows its file and line says so in an `InputError`.

    Args:
        row: its place among the rows that were given.
        message: reads well behind the line.
    """

    def __init__(self, row: int, message: str):
        super().__init__(message)
        self.row = row


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def kind_and_first_line(error: BaseException) -> str:
    """The same of an error that nobody foresaw, whose kind is half of what is known."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
