"""`tfhub-ft tune RECIPE`: a command for each recipe, built from its settings."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from tfhub_ft.cli.commands import Command, GroupedOption
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.cli.train import CONFIG_OPTION, RecipeGroup, given_settings, recipe_argument, settings_options
from tfhub_ft.recipe import Recipe
from tfhub_ft.utils.console import print_next, print_tables

_search = partial(GroupedOption, group="Search")


def tune_command(name: str, recipe: Recipe) -> click.Command:
    """Return the command that searches a recipe's settings."""
    options = [
        _search(
            ["--output-dir"],
            type=PATH,
            metavar="DIR",
            required=True,
            help="Folder of the search; an interrupted search continues in it.",
        ),
        _search(["--trials"], type=click.IntRange(1), default=12, help="Number of training runs."),
        _search(
            ["--search"],
            multiple=True,
            metavar="SETTING=VALUES",
            help="Setting to vary: a range such as learning_rate=1e-5..3e-4, or choices such as"
            " encoder=minilm-l6,bert-base-uncased. Repeatable. [default: learning rate, epochs and freeze]",
        ),
        CONFIG_OPTION,
        *settings_options(recipe.settings, recipe.settings.names()),
    ]

    def run(search: tuple[str, ...], **options: Any) -> None:
        _tune(name, {"search": search} if search else {}, given_settings(options))

    text = f"Search for good settings: {recipe.summary}\n\nExample: tfhub-ft tune {name} --output-dir runs/search"
    return Command(name, params=options, callback=run, help=text, short_help=recipe.summary)


@click.command("tune", cls=RecipeGroup, recipe_command=tune_command)
def command() -> None:
    """Search for good settings of a recipe.

    \b
    Example: tfhub-ft tune sentiment --data reviews.csv --output-dir runs/search --trials 20
             tfhub-ft tune sentiment --output-dir runs/search --search learning_rate=1e-5..3e-4

    Then train with the best settings, and score the test rows: tfhub-ft train RECIPE --config runs/search/best.yaml
    """


def _tune(name: str, search: dict[str, Any], settings: dict[str, Any]) -> None:
    from tfhub_ft.training.tune import BEST, tune

    rows = tune(name, **search, **settings)

    from rich.table import Table

    table = Table(*(key.replace("_", " ") for key in rows[0]), title="Trials, best first")
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    print_tables(table)
    best = Path(settings["output_dir"]) / BEST
    print(f"Best settings: {best}")
    print_next("train", recipe_argument(name), "--config", best)
