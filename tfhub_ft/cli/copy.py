"""`tfhub-ft copy RECIPE FILE.py`."""

from pathlib import Path

import click

from tfhub_ft.cli.commands import Command
from tfhub_ft.cli.param_types import PATH, RECIPE
from tfhub_ft.utils.console import command_line


@click.command("copy", cls=Command)
@click.argument("recipe", type=RECIPE)
@click.argument("file", type=PATH, metavar="FILE.py")
def command(recipe: str, file: str) -> None:
    """Copy a recipe to a file, to edit it and train with it.

    recipes/ADD-RECIPE.md describes the parts of a recipe.

    \b
    Example: tfhub-ft copy spam mine.py
             tfhub-ft train ./mine.py --data rows.csv
    """
    from tfhub_ft.recipe import copy_recipe

    path = copy_recipe(recipe, Path(file))
    train = command_line("tfhub-ft", "train", str(path) if path.is_absolute() else f"./{path}")
    print(f"{path}: a copy of {recipe}; edit it, then run: {train} --data FILE")
