"""`tfhub-ft prepare RECIPE`: a command for each recipe, built from its settings."""

from functools import partial
from typing import Any

import click

from tfhub_ft.cli.commands import Command, GroupedOption
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.train import CONFIG_OPTION, RecipeGroup, given_settings, recipe_argument, settings_options
from tfhub_ft.recipe import Recipe
from tfhub_ft.utils.console import print_next

_output = partial(GroupedOption, group="Output")


def prepare_command(name: str, recipe: Recipe) -> click.Command:
    """Return the command that prepares a recipe's rows."""
    options = [
        _output(
            ["--output-dir"],
            type=PATH,
            metavar="DIR",
            required=True,
            help="Folder of the shards; an interrupted preparation continues in it.",
        ),
        _output(
            ["--shards"],
            type=click.IntRange(1),
            help="Number of shards of the training split; the other splits get shards of the same size."
            " [default: one per 50,000 rows]",
        ),
        GroupedOption(
            ["--workers"],
            type=click.IntRange(1),
            group="Runtime",
            help="Number of threads that tokenize. [default: one per core]",
        ),
        CONFIG_OPTION,
        *settings_options(recipe.settings, recipe.settings.row_names()),
    ]

    def run(**options: Any) -> None:
        _prepare(name, given_settings(options))

    text = f"Prepare rows: {recipe.summary}\n\nExample: tfhub-ft prepare {name} --output-dir prepared/{recipe.name}"
    return Command(name, params=options, callback=run, help=text, short_help=recipe.summary)


@click.command("prepare", cls=RecipeGroup, recipe_command=prepare_command)
def command() -> None:
    """Read, split and tokenize rows once, into TFRecord shards.

    \b
    Example: tfhub-ft prepare sentiment --train 'part-*.jsonl' --output-dir prepared/reviews
             tfhub-ft train sentiment --prepared prepared/reviews
    """


def _prepare(recipe: str, options: dict[str, Any]) -> None:
    from tfhub_ft.training.prepare import prepare

    prepared = prepare(recipe, **options)
    counts = (f"{split['rows']:,} {key} rows in {len(split['shards'])}" for key, split in prepared.splits.items())
    print(f"{prepared.path}: {', '.join(counts)} shards")
    print_next("train", recipe_argument(recipe), "--prepared", prepared.path)
