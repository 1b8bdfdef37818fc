"""`tfhub-ft`: finds the command, and turns errors into one line and an exit code."""

import functools
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tfhub_ft.utils.console import prepare_streams, printable, set_quiet
from tfhub_ft.utils.errors import TfhubFtError, kind_and_first_line
from tfhub_ft.utils.files import write_fault
from tfhub_ft.utils.memory import collect_seldom
from tfhub_ft.utils.trust import TRUST_VARIABLE
from tfhub_ft.utils.version import __version__

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

COMMANDS = {
    "recipes": "tfhub_ft.cli.recipes",
    "encoders": "tfhub_ft.cli.encoders",
    "prepare": "tfhub_ft.cli.prepare",
    "train": "tfhub_ft.cli.train",
    "launch": "tfhub_ft.cli.launch",
    "tune": "tfhub_ft.cli.tune",
    "evaluate": "tfhub_ft.cli.evaluate",
    "predict": "tfhub_ft.cli.predict",
    "distill": "tfhub_ft.cli.distill",
    "compare": "tfhub_ft.cli.compare",
    "export": "tfhub_ft.cli.export",
    "benchmark": "tfhub_ft.cli.benchmark",
    "serve": "tfhub_ft.cli.serve",
    "chat": "tfhub_ft.cli.chat",
    "copy": "tfhub_ft.cli.copy",
}
INTERRUPTED = 130
FLAGS = {"--debug", "--quiet", "--trust"}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return importlib.import_module(COMMANDS[name]).command if name in COMMANDS else None


@click.command(cls=LazyGroup)
@click.version_option(__version__, package_name="tfhub_ft")
def group() -> None:
    """Fine-tune, prove and ship TF Hub text encoders with Keras 3.

    Start with: tfhub-ft train sentiment

    Any command takes --quiet, which shows no progress, --debug, which shows the traceback of an error, and --trust,
    which runs code of others: SavedModels that are not in the catalogue or do more than encoders need, and the recipe
    files of runs.
    """


class QuietTensorFlow:
    """Finder that imports TensorFlow without the lines its libraries print; 2.21 prints them at any log level."""

    def find_spec(self, name: str, *_: object) -> "ModuleSpec | None":
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec:
            spec.loader.exec_module = functools.partial(_run_without_stderr, spec.loader.exec_module)
        return spec


def _run_without_stderr(function: Callable[..., None], *arguments: object) -> None:
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        function(*arguments)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def main() -> None:
    """Run the command line and exit: 0 done, 2 the input is wrong, 1 the work failed."""
    collect_seldom()
    prepare_streams()
    arguments, flags = _without_flags(sys.argv[1:])
    debug = "--debug" in flags
    if "--quiet" in flags:
        set_quiet()
    if "--trust" in flags:
        os.environ[TRUST_VARIABLE] = "1"
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        sys.meta_path.insert(0, QuietTensorFlow())
    try:
        sys.exit(group.main(arguments, prog_name="tfhub-ft", standalone_mode=False) or 0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        sys.exit(_report(error))


def _without_flags(arguments: list[str]) -> tuple[list[str], set[str]]:
    """The arguments without the flags that every command takes, and those of these flags that are there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument not in FLAGS]
    return options + arguments[end:], FLAGS & {*arguments[:end]}


def _report(error: Exception) -> int:
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        advice = f" ({context.command_path} --help)" if context else ""
        message = " ".join(error.format_message().split())
        print(f"Error: {printable(message)}{advice}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, TfhubFtError):
        print(f"Error: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    path = getattr(error, "filename2", None) or getattr(error, "filename", None)
    if fault := write_fault(error, path or f"a file, here or in {tempfile.gettempdir()},"):
        print(f"Error: {fault}", file=sys.stderr)
        return fault.exit_code
    print(f"Error: {kind_and_first_line(error)} (--debug shows where)", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
