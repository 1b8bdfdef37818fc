"""`tfhub-ft train RECIPE`: a command for each recipe, built from its settings."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from tfhub_ft.cli.commands import Command, Group, GroupedOption
from tfhub_ft.cli.param_types import NAMED, PATH
from tfhub_ft.recipe import RECIPES, Recipe, load_recipe
from tfhub_ft.settings import TrainingSettings, option_name, value_type
from tfhub_ft.utils.console import print_next, print_tables
from tfhub_ft.utils.errors import InputError

MOST_USED = "Most used"
_GROUPS = (MOST_USED, "Data", "Model", "Training", "Fine-tuning method", "Runtime")
_MOST_USED_SETTINGS = (
    *("data", "train", "validation", "test", "text_column", "text", "label_column"),
    *("encoder", "language_model", "seq_length", "epochs", "batch_size", "learning_rate", "freeze"),
)


class RecipeGroup(Group):
    """A group with a command for each recipe and for each recipe file.

    Args:
        recipe_command: Builds the command of a recipe from the name that was typed and the recipe.
        **attributes: Those of `click.Group`.
    """

    def __init__(self, *args: Any, recipe_command: Callable[[str, Recipe], click.Command], **attributes: Any):
        super().__init__(*args, subcommand_metavar="RECIPE|FILE.py [OPTIONS]", **attributes)
        self.recipe_command = recipe_command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(RECIPES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            return self.recipe_command(cmd_name, load_recipe(cmd_name))
        except InputError:
            # Shell completion shows no errors.
            if ctx.resilient_parsing:
                return None
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the recipes that start with a text, or let the shell complete the path of a recipe file."""
        return super().shell_complete(ctx, incomplete) or [CompletionItem(incomplete, type="file")]


def train_command(name: str, recipe: Recipe) -> click.Command:
    """Return the command that trains a recipe, with an option for each of its settings."""
    options = [
        GroupedOption(
            ["--output-dir"],
            type=PATH,
            metavar="RUN",
            group=MOST_USED,
            help="Run folder to write, new or empty. [default: runs/NAME-N]",
        ),
        CONFIG_OPTION,
        GroupedOption(
            ["--resume"], is_flag=True, group=MOST_USED, help="Continue the interrupted training in --output-dir."
        ),
        GroupedOption(
            ["--dry-run"],
            is_flag=True,
            group=MOST_USED,
            help="Print the plan with estimated time and memory, then exit.",
        ),
        *settings_options(recipe.settings, recipe.settings.names()),
        GroupedOption(
            ["--folds"],
            type=int,
            group="Training",
            help="Number of folds: cross-validation of --data; the run with the median score is kept.",
        ),
        GroupedOption(
            ["--seeds"],
            type=int,
            group="Training",
            help="Number of runs with consecutive seeds on the same rows; the run with the median score is kept.",
        ),
        GroupedOption(
            ["--recover"],
            is_flag=True,
            group="Training",
            help="Like --resume, after a NaN loss: restart from the last good epoch at half the learning rate.",
        ),
    ]

    def run(
        output_dir: str | None,
        config: str | None,
        resume: bool,
        recover: bool,
        dry_run: bool,
        folds: int | None,
        seeds: int | None,
        **options: Any,
    ) -> None:
        settings = given_settings({**options, "folds": folds, "seeds": seeds})
        if dry_run:
            _dry_run(name, config, settings)
        else:
            _train(name, {"output_dir": output_dir, "config": config, "resume": resume, "recover": recover}, settings)

    text = f"{recipe.summary}\n\nExample: tfhub-ft train {name} --data FILE{recipe.demo.suffix} --output-dir runs/mine"
    return Command(name, params=options, callback=run, help=text, short_help=recipe.summary)


@click.command("train", cls=RecipeGroup, recipe_command=train_command)
def command() -> None:
    """Fine-tune an encoder with a recipe.

    Example: tfhub-ft train sentiment --data reviews.csv --output-dir runs/reviews

    tfhub-ft train RECIPE --help lists the options of a recipe. Without data options it trains on demo rows.
    """


def recipe_argument(name: str) -> str | Path:
    """Return the recipe of a command line: a name, or the path of a recipe file."""
    return name if name in RECIPES else Path(name)


CONFIG_OPTION = GroupedOption(
    ["--config"],
    type=PATH,
    metavar="FILE",
    group=MOST_USED,
    help="YAML file with settings; command-line options override it.",
)


def settings_options(
    settings: type[TrainingSettings] | TrainingSettings, names: Collection[str]
) -> list[GroupedOption]:
    """Return the options of settings, in the order of `--help`.

    Args:
        settings: The defaults, which `--help` shows; a class shows none.
        names: The fields that get an option.
    """

    def group(field: dataclasses.Field) -> str:
        return MOST_USED if field.name in _MOST_USED_SETTINGS else field.metadata["group"]

    def help_order(field: dataclasses.Field) -> tuple[int, int]:
        rank = _MOST_USED_SETTINGS.index(field.name) if field.name in _MOST_USED_SETTINGS else 0
        return [*_GROUPS, group(field)].index(group(field)), rank

    def default(field: dataclasses.Field) -> object:
        return None if isinstance(settings, type) else getattr(settings, field.name)

    fields = [field for field in dataclasses.fields(settings) if field.name in names]
    return [setting_option(field, default(field), group=group(field)) for field in sorted(fields, key=help_order)]


def setting_option(field: dataclasses.Field, default: object, *, group: str) -> GroupedOption:
    """Return the option of a settings field.

    Args:
        field: The field.
        default: What `--help` shows as its default; None shows nothing.
        group: The heading of `--help`.
    """
    name, kind, metadata = option_name(field.name), value_type(field), field.metadata
    attributes: dict[str, Any] = {}
    if kind is bool:
        default = None if default is None else name[2:] if default else f"no-{name[2:]}"
        name += f"/--no-{name[2:]}"
    elif metadata["path"]:
        attributes = {"type": PATH, "metavar": "RUN" if field.name == "from_run" else "FILE"}
    elif metadata["choices"]:
        attributes = {"type": click.Choice(metadata["choices"])}
    else:
        attributes = {"type": NAMED.get(field.name, kind)}
    help = metadata["help"] + ("" if default is None else f" [default: {default}]")
    return GroupedOption([name, field.name], default=None, group=group, help=help, **attributes)


def given_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def _dry_run(name: str, config: str | None, settings: dict[str, Any]) -> None:
    from tfhub_ft.training.dry_run import dry_run

    plan = dry_run(name, config=config, **settings)

    from tfhub_ft.evaluation.console_tables import dry_run_tables

    print_tables(*dry_run_tables(plan))
    print("Nothing was trained.")


def _train(name: str, options: dict[str, Any], settings: dict[str, Any]) -> None:
    from tfhub_ft.training.train import train

    run = train(name, **options, **settings)

    from tfhub_ft.evaluation.console_tables import repeats_table, scores_table
    from tfhub_ft.metrics.thresholds import precision_summary

    if repeats := run.repeats:
        print_tables(repeats_table(repeats))
        print(f"Kept: {repeats['runs'][repeats['kept']]['name']}, the median {repeats['metric'].replace('_', ' ')}")
    print_tables(scores_table(run.metrics))
    for sentence in precision_summary(run.metrics, run.labels, run.thresholds):
        print(sentence)
    print(f"Run: {run.path}")
    print(f"Report: {run.path / 'report.html'}")
    print_next("predict", run.path, *(f"your {field}" for field in run.recipe.task.fields))
