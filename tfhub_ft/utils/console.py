"""Progress, warnings and tables on the console."""

import contextlib
import io
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.table import Table

QUIET_VARIABLE = "TFHUB_FT_QUIET"
# The width of tables that are written to a file or a pipe.
WIDTH = 120
Batch = TypeVar("Batch", bound=Sized)


def set_quiet() -> None:
    """Print only warnings from now on, in this process and its children."""
    os.environ[QUIET_VARIABLE] = "1"


def printable(text: str) -> str:
    """Escape the control characters of a text, except line feeds and tabs."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", text)


def log(message: str) -> None:
    """Print a line of progress to standard error, unless quiet."""
    if QUIET_VARIABLE not in os.environ:
        print(printable(message), file=sys.stderr, flush=True)


_recorders: list[list[str]] = []


def warn(message: str) -> None:
    """Print a warning, a sentence without capital and full stop, to standard error, and record it."""
    print(f"Warning: {printable(message)}", file=sys.stderr, flush=True)
    for recorder in _recorders:
        if message not in recorder:
            recorder.append(message)


@contextlib.contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Yield a list, to which each distinct warning within this context is added."""
    warnings: list[str] = []
    _recorders.append(warnings)
    try:
        yield warnings
    finally:
        _recorders[:] = [each for each in _recorders if each is not warnings]


def prepare_streams() -> None:
    """Make standard output and error line-buffered, and replace characters that their encoding lacks.

    A lossy error handler that the user chose (PYTHONIOENCODING=ascii:ignore) stays.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_lossy = stream.errors not in ("strict", "surrogateescape")
            stream.reconfigure(errors=stream.errors if is_lossy else "replace", line_buffering=True)


def decode_input(content: bytes) -> str:
    """Decode bytes from the console: as UTF-8, otherwise in the encoding of standard input."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(getattr(sys.stdin, "encoding", None) or "utf-8")


def to_json(value: object, file: TextIO, *, indent: int | None = None) -> str:
    """Serialize a value as JSON for a text stream; characters are escaped if its encoding is not Unicode."""
    is_unicode = (file.encoding or "utf-8").lower().startswith("utf")
    return json.dumps(value, indent=indent, ensure_ascii=not is_unicode)


def print_json(value: object) -> None:
    """Print a value to standard output as indented JSON."""
    print(to_json(value, sys.stdout, indent=2))


def command_line(*words: str | Path) -> str:
    """Return a command for a POSIX shell, words quoted; a `Path` that starts with a dash gets the prefix "./"."""
    return shlex.join(f"./{word}" if isinstance(word, Path) and str(word)[0] == "-" else str(word) for word in words)


def print_next(*arguments: str | Path) -> None:
    """Print the usual next `tfhub-ft` command to standard error."""
    print(f"Next: {command_line('tfhub-ft', *arguments)}", file=sys.stderr)


def print_tables(*tables: "Table") -> None:
    """Print tables to standard output, as wide as the terminal; brackets in cells are not markup."""
    from rich.console import Console
    from rich.segment import Segments

    console = Console(markup=False, emoji=False, width=None if sys.stdout.isatty() else WIDTH)
    for table in tables:
        # Labels may contain control characters.
        segments = [each._replace(text=printable(each.text)) for each in console.render(table)]
        console.print(Segments(segments), end="")


def shows_bars() -> bool:
    """Return whether progress bars are shown: on a terminal, unless quiet."""
    return QUIET_VARIABLE not in os.environ and sys.stderr.isatty()


@contextlib.contextmanager
def progress(description: str, total: int | None, unit: str = "") -> Iterator[Callable[..., None]]:
    """Show the progress of a task: a bar on a terminal, one plain line elsewhere, nothing if quiet.

    The yielded function takes the number of finished units and, optionally, a new description. The unit "bytes" shows
    sizes and a rate; any other word follows the count.
    """
    if not shows_bars():
        log(f"{description} ...")
        yield lambda amount, description=None: None
        return
    from rich import progress as bars
    from rich.console import Console

    in_bytes, in_units = (bars.DownloadColumn(), bars.TransferSpeedColumn()), (bars.MofNCompleteColumn(), unit)
    bar = bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        *(in_bytes if unit == "bytes" else in_units),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # Output that goes to a terminal is printed above the bar.
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda amount, description=None: bar.update(task, advance=amount, description=description)


def with_bar(batches: Iterable[Batch], description: str, rows: int) -> Iterator[Batch]:
    """Yield batches, with a bar that counts their rows on a terminal and no output elsewhere."""
    if not shows_bars():
        yield from batches
        return
    with progress(description, rows, "rows") as advance:
        for batch in batches:
            yield batch
            advance(len(batch))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard standard output and error within this context, also those of C++ code."""
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        copies = [os.dup(1), os.dup(2)]
        handlers = list(logging.root.handlers)
        try:
            os.dup2(null.fileno(), 1)
            os.dup2(null.fileno(), 2)
            yield
        finally:
            # Handlers that were added in this context write to a closed file.
            logging.root.handlers[:] = handlers
            for number, copy in enumerate(copies, 1):
                os.dup2(copy, number)
                os.close(copy)
