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
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.table import Table

HUSHED = "TFHUB_FT_QUIET"
# Of a table that goes into a file or a pipe.
WIDTH = 120
Batch = TypeVar("Batch", bound=Sized)


def set_quiet() -> None:
    """Say warnings alone from now on, in this process and those that it starts. What `--quiet` does."""
    os.environ[HUSHED] = "1"


def printable(text: str) -> str:
    """Return a text whose control characters, which could command a terminal, are escaped; line feeds and tabs stay.

    Example:
        printable("\x1b[2J")  # \\x1b[2J
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def log(message: str) -> None:
    """Print one line of progress to standard error."""
    if HUSHED not in os.environ:
        print(printable(message), file=sys.stderr, flush=True)


_recorders: list[list[str]] = []


def warn(message: str) -> None:
    """Print a warning to standard error, also where progress is quiet, and add it to what `recorded_warnings` keeps.

    Args:
        message: one sentence without a full stop, which begins in lower case.
    """
    print(f"Warning: {printable(message)}", file=sys.stderr, flush=True)
    for recorder in _recorders:
        if message not in recorder:
            recorder.append(message)


@contextlib.contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Yield a list that grows by each distinct warning given within this context.

    Example:
        with recorded_warnings() as warnings:
            warn("2 rows repeat the text of another")
    """
    warnings: list[str] = []
    _recorders.append(warnings)
    try:
        yield warnings
    finally:
        _recorders[:] = [each for each in _recorders if each is not warnings]


def prepare_streams() -> None:
    """Let standard output and error replace the characters that their encoding lacks, and write each line at once.

    By default such characters raise an error. A handler that the user chose (PYTHONIOENCODING=ascii:ignore) stays.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_lossy = stream.errors not in ("strict", "surrogateescape")
            stream.reconfigure(errors=stream.errors if is_lossy else "replace", line_buffering=True)


def decode_input(content: bytes) -> str:
    """Decode bytes that came from the console: as UTF-8, otherwise in the encoding of standard input.

    Raises:
        UnicodeDecodeError: the bytes are text in neither.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(getattr(sys.stdin, "encoding", None) or "utf-8")


def to_json(value: Any, file: TextIO, *, indent: int | None = None) -> str:
    """Serialize a value as JSON for a text stream; characters are escaped only where its encoding may lack them.

    Example:
        print(to_json({"label": "très bien"}, sys.stdout))
    """
    is_unicode = (file.encoding or "utf-8").lower().startswith("utf")
    return json.dumps(value, indent=indent, ensure_ascii=not is_unicode)


def print_json(value: Any) -> None:
    """Print a value to standard output as indented JSON."""
    print(to_json(value, sys.stdout, indent=2))


def command_line(*words: str | Path) -> str:
    """Return a command as a POSIX shell reads it; a path that begins with a dash is not taken for an option.

    Example:
        command_line("tfhub-ft", "predict", Path("my run"), "a text")  # tfhub-ft predict 'my run' 'a text'
    """
    return shlex.join(f"./{word}" if isinstance(word, Path) and str(word)[0] == "-" else str(word) for word in words)


def print_next(*arguments: str | Path) -> None:
    """Print the `tfhub-ft` command that people usually run next to standard error."""
    print(f"Next: {command_line('tfhub-ft', *arguments)}", file=sys.stderr)


def print_tables(*tables: "Table") -> None:
    """Print tables to standard output, as wide as the terminal is; a label in brackets is no markup."""
    from rich.console import Console
    from rich.segment import Segments

    console = Console(markup=False, emoji=False, width=None if sys.stdout.isatty() else WIDTH)
    for table in tables:
        # Labels may hold control characters.
        segments = [each._replace(text=printable(each.text)) for each in console.render(table)]
        console.print(Segments(segments), end="")


def shows_bars() -> bool:
    """Whether somebody sees how far a work is while it goes on: on a terminal, where all is not hushed."""
    return HUSHED not in os.environ and sys.stderr.isatty()


@contextlib.contextmanager
def progress(description: str, total: int | None, unit: str = "") -> Iterator[Callable[..., None]]:
    """Show how far a long work is: a bar on a terminal, one plain line elsewhere, nothing where all is hushed.

    Args:
        description: what is being done, a few words.
        total: how much there is to do, or None where that is not known.
        unit: "bytes" shows sizes and a rate; any other word stands behind the count.

    Yields:
        A function that takes how much more was done and, where it changes, the description.

    Example:
        with progress("Reading", total=len(rows), unit="rows") as advance:
            advance(32)
    """
    if not shows_bars():
        log(f"{description} ...")
        yield lambda amount, description=None: None
        return
    from rich import progress as bars
    from rich.console import Console

    measure = (
        [bars.DownloadColumn(), bars.TransferSpeedColumn()]
        if unit == "bytes"
        else [bars.MofNCompleteColumn(), bars.TextColumn(unit)]
    )
    columns = [
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        *measure,
        bars.TimeRemainingColumn(),
    ]
    # What is printed meanwhile goes above the bar; but not what is read by something else than a terminal.
    shared = sys.stdout.isatty()
    with bars.Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=shared) as shown:
        task = shown.add_task(description, total=total)
        yield lambda amount, description=None: shown.update(task, advance=amount, description=description)


def with_bar(batches: Iterable[Batch], description: str, rows: int) -> Iterator[Batch]:
    """The batches of a work of which a line has told already, with a bar where somebody sees it.

    Args:
        batches: each of some rows.
        description: what is being done, a few words.
        rows: of all batches together.
    """
    if not shows_bars():
        yield from batches
        return
    with progress(description, rows, "rows") as advance:
        for batch in batches:
            yield batch
            advance(len(batch))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what converters and interpreters print, from C++ too, off the screen."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        kept = [os.dup(1), os.dup(2)]
        handlers = list(logging.root.handlers)
        try:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            # A handler that was added meanwhile writes to a file that is closed now.
            logging.root.handlers[:] = handlers
            for number, copy in enumerate(kept, 1):
                os.dup2(copy, number)
                os.close(copy)
