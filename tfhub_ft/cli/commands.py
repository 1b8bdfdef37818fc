"""Command classes: options in groups, and the options that every command has."""

import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any

import click

from tfhub_ft.utils.console import set_quiet
from tfhub_ft.utils.errors import did_you_mean
from tfhub_ft.utils.trust import TRUST_VARIABLE

DEBUG_VARIABLE = "TFHUB_FT_DEBUG"
GENERAL = "General"
ERRORS_ONLY = "3"


class GroupedOption(click.Option):
    """An option with the heading that `--help` lists it under.

    Args:
        group: The heading.
        **attributes: Those of `click.Option`.
    """

    def __init__(self, *names: Any, group: str = "Options", **attributes: Any):
        super().__init__(*names, **attributes)
        self.group = group


option = functools.partial(click.option, cls=GroupedOption)


class Command(click.Command):
    """A command that has the general options, and whose help lists options by group."""

    def __init__(self, *args: Any, **attributes: Any):
        super().__init__(*args, **attributes)
        self.params += _general_options()
        self.context_settings = {"max_content_width": 100, "show_default": True, **self.context_settings}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section for each group, the general ones last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "group", GENERAL), []).append(record)
        for heading in sorted(sections, key=lambda heading: heading == GENERAL):
            with formatter.section(heading):
                formatter.write_dl(sections[heading])


class Group(Command, click.Group):
    """A group of commands that has the general options."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        # A command that cannot be loaded, such as that of a recipe file with an error, does not parse its options.
        if "--debug" in args[: args.index("--") if "--" in args else None]:
            _debug()
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(f"{error.message} {hint[:1].upper()}{hint[1:]}".rstrip(), ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def is_debug() -> bool:
    """Return whether --debug was given."""
    return DEBUG_VARIABLE in os.environ


def silence_tensorflow() -> None:
    """Import TensorFlow without its log lines from now on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", ERRORS_ONLY)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.meta_path.insert(0, _QuietTensorFlow())


def _general_options() -> list[click.Parameter]:
    def flag(name: str, callback: Callable[[], None], help: str) -> GroupedOption:
        def call(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
            if value:
                callback()

        return GroupedOption(
            [name], is_flag=True, is_eager=True, expose_value=False, callback=call, group=GENERAL, help=help
        )

    return [
        flag("--quiet", set_quiet, "Show results, warnings and errors, but no progress."),
        flag("--debug", _debug, "Show the traceback of an error and the log of TensorFlow."),
        flag("--trust", _trust, f"Run code from others: SavedModels and recipe files. [env: {TRUST_VARIABLE}=1]"),
    ]


def _trust() -> None:
    os.environ[TRUST_VARIABLE] = "1"


def _debug() -> None:
    os.environ[DEBUG_VARIABLE] = "1"
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == ERRORS_ONLY:
        del os.environ["TF_CPP_MIN_LOG_LEVEL"]
    logging.getLogger("tensorflow").setLevel(logging.NOTSET)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _QuietTensorFlow)]


class _QuietTensorFlow:
    """Finder that imports TensorFlow without the lines its libraries print; 2.21 prints them at any log level."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            quiet = functools.partial(_run_without_stderr, spec.loader.exec_module)
            setattr(spec.loader, "exec_module", quiet)  # noqa: B010
        return spec


def _run_without_stderr(function: Callable[..., None], *arguments: object) -> None:
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        function(*arguments)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)
