"""`tfhub-ft prepare RECIPE`: a command for each recipe, made from its settings."""

import dataclasses
from typing import Any

import click

from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.train import RecipeGroup, recipe_argument, setting_option
from tfhub_ft.recipe import Recipe
from tfhub_ft.utils.console import print_next


class PrepareGroup(RecipeGroup):
    """A group that has a command for each recipe, and for each recipe file."""

    @staticmethod
    def recipe_command(name: str, recipe: Recipe) -> click.Command:
        return prepare_command(name, recipe)


@click.command("prepare", cls=PrepareGroup, subcommand_metavar="RECIPE|FILE.py [OPTIONS]")
def command() -> None:
    """Read, split and tokenize rows once, into TFRecord shards for trainings.

    Example: tfhub-ft prepare sentiment --train 'part-*.jsonl' --output-dir prepared/reviews

    tfhub-ft train RECIPE --prepared prepared/reviews then trains on them, without the files. A preparation that was
    stopped goes on in the same folder.
    """


def prepare_command(name: str, recipe: Recipe) -> click.Command:
    """The click command that prepares a recipe's rows."""
    own = [
        click.Option(
            ["--output-dir"],
            type=PATH,
            metavar="DIR",
            required=True,
            help="Folder of the shards; a stopped preparation continues in it.",
        ),
        click.Option(
            ["--shards"],
            type=click.IntRange(1),
            help="Files of the training rows; other splits have as large ones. [default: one for each 50,000 rows]",
        ),
        click.Option(["--workers"], type=click.IntRange(1), help="Threads that tokenize. [default: as many as cores]"),
        click.Option(
            ["--config"], type=PATH, metavar="FILE", help="YAML file with settings; command-line options override it."
        ),
    ]
    fields = {field.name: field for field in dataclasses.fields(recipe.settings)}
    options = [setting_option(fields[key], getattr(recipe.settings, key)) for key in recipe.settings.of_rows()]

    def run(**given: Any) -> None:
        _prepare(name, {key: value for key, value in given.items() if value is not None})

    text = f"Prepare rows: {recipe.summary}\n\nExample: tfhub-ft prepare {name} --output-dir prepared/{recipe.name}"
    return click.Command(name, params=[*own, *options], callback=run, help=text, short_help=recipe.summary)


def _prepare(name: str, given: dict[str, Any]) -> None:
    from tfhub_ft.training.prepare import prepare

    prepared = prepare(name, **given)
    counts = (f"{split['rows']:,} {kind} rows in {len(split['shards'])}" for kind, split in prepared.splits.items())
    print(f"{prepared.path}: {', '.join(counts)} shards")
    print_next("train", recipe_argument(name), "--prepared", prepared.path)
