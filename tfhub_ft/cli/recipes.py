"""`tfhub-ft recipes`."""

import click

from tfhub_ft.cli.commands import Command
from tfhub_ft.cli.read_options import json_option
from tfhub_ft.recipe import RECIPES, load_recipe
from tfhub_ft.utils.console import print_json, print_tables


@click.command("recipes", cls=Command)
@json_option()
def command(as_json: bool) -> None:
    """List the recipes.

    Example: tfhub-ft recipes
    """
    recipes = [load_recipe(name) for name in RECIPES]
    if as_json:
        rows = [
            {"name": r.name, "summary": r.summary, "task": r.task.name, "recommended": list(r.recommended)}
            for r in recipes
        ]
        print_json(rows)
        return
    from rich.table import Table

    table = Table()
    for heading in ("recipe", "purpose", "encoders"):
        table.add_column(heading, no_wrap=heading != "purpose")
    for r in recipes:
        table.add_row(r.name, r.summary, "\n".join(r.recommended), end_section=True)
    print_tables(table)
