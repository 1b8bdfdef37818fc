"""`tfhub-ft tune RECIPE`: a command for each recipe, made from its settings."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.train import RecipeGroup, recipe_argument, setting_option
from tfhub_ft.recipe import Recipe
from tfhub_ft.utils.console import print_next, print_tables


class TuneGroup(RecipeGroup):
    """A group that has a command for each recipe, and for each recipe file."""

    @staticmethod
    def recipe_command(name: str, recipe: Recipe) -> click.Command:
        return tune_command(name, recipe)


@click.command("tune", cls=TuneGroup, subcommand_metavar="RECIPE|FILE.py [OPTIONS]")
def command() -> None:
    """Search for good settings of a recipe.

    Example: tfhub-ft tune sentiment --data reviews.csv --output-dir runs/search --search learning_rate=1e-5..3e-4

    tfhub-ft train RECIPE --config runs/search/best.yaml then trains with the best ones, and scores the test rows.
    """


def tune_command(name: str, recipe: Recipe) -> click.Command:
    """The click command of a recipe's search."""
    own = [
        click.Option(
            ["--output-dir"],
            type=PATH,
            metavar="DIR",
            required=True,
            help="Folder of the search; a stopped search continues in it.",
        ),
        click.Option(["--trials"], type=click.IntRange(1), default=12, show_default=True, help="Trainings in all."),
        click.Option(
            ["--search"],
            multiple=True,
            metavar="SETTING=VALUES",
            help="What is varied: a range, learning_rate=1e-5..3e-4, or a choice, encoder=minilm-l6,bert-base-uncased;"
            " several times."
            " [default: learning rate, epochs and freezing]",
        ),
        click.Option(["--config"], type=PATH, metavar="FILE", help="YAML file with settings that are not varied."),
    ]
    options = [
        setting_option(field, getattr(recipe.settings, field.name)) for field in dataclasses.fields(recipe.settings)
    ]

    def run(search: tuple[str, ...], **given: Any) -> None:
        settings = {key: value for key, value in given.items() if value is not None}
        _tune(name, {"search": search} if search else {}, settings)

    text = f"Search for good settings: {recipe.summary}\n\nExample: tfhub-ft tune {name} --output-dir runs/search"
    return click.Command(name, params=[*own, *options], callback=run, help=text, short_help=recipe.summary)


def _tune(name: str, how: dict[str, Any], given: dict[str, Any]) -> None:
    from tfhub_ft.training.tune import BEST, tune

    rows = tune(name, **how, **given)

    from rich.table import Table

    table = Table(*(key.replace("_", " ") for key in rows[0]), title="Trials, the best first")
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    print_tables(table)
    best = Path(given["output_dir"]) / BEST
    print(f"Best: {best}")
    print_next("train", recipe_argument(name), "--config", best)
