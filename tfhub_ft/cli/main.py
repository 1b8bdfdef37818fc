"""The command line: run a command, report errors in one line and by exit code."""

import importlib
import os
import sys
import tempfile

import click

from tfhub_ft.cli.commands import Group, is_debug, silence_tensorflow
from tfhub_ft.utils.console import prepare_streams, printable
from tfhub_ft.utils.errors import TfhubFtError, kind_and_first_line
from tfhub_ft.utils.files import write_fault
from tfhub_ft.utils.memory import collect_garbage_rarely
from tfhub_ft.utils.version import __version__

COMMANDS = {
    name: f"tfhub_ft.cli.{name}"
    for name in (
        *("recipes", "encoders", "train", "evaluate", "inspect", "predict", "export", "serve", "benchmark", "compare"),
        *("tune", "distill", "prepare", "launch", "chat", "copy"),
    )
}
INTERRUPTED = 130


class LazyGroup(Group):
    """A group that imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return importlib.import_module(COMMANDS[cmd_name]).command if cmd_name in COMMANDS else None


@click.command(cls=LazyGroup)
@click.version_option(__version__, package_name="tfhub_ft")
def group() -> None:
    """Fine-tune, verify and ship TF Hub text encoders with Keras 3.

    \b
    Example: tfhub-ft train sentiment --data reviews.csv --output-dir runs/reviews
             tfhub-ft predict runs/reviews "a warm, funny film"
             tfhub-ft export runs/reviews --output-dir saved_models/reviews

    \b
    Environment variables:
      TFHUB_FT_CACHE   Folder of downloaded encoders, token ids and features.
      TFHUB_FT_MIRROR  Base URL to download encoders from instead of tfhub.dev and Kaggle.
      TFHUB_FT_CONFIG  Folder that lists the recipe files you have trained with.
      TFHUB_FT_TRUST   1 is --trust for every command.
    """


def main() -> None:
    """Run the command line and exit with 0 (done), 2 (wrong input) or 1 (failed work)."""
    collect_garbage_rarely()
    prepare_streams()
    if not is_debug():
        silence_tensorflow()
    try:
        sys.exit(group.main(sys.argv[1:], prog_name="tfhub-ft", standalone_mode=False) or 0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of the output has closed it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if is_debug():
            raise
        sys.exit(_report(error))


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
    if fault := write_fault(error, path or f"a file, here or in {tempfile.gettempdir()}"):
        print(f"Error: {fault}", file=sys.stderr)
        return fault.exit_code
    print(f"Error: {kind_and_first_line(error)} (--debug shows the traceback)", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
