"""`tfhub-ft recipes`."""

import click

from tfhub_ft.recipe import RECIPES, load_recipe
from tfhub_ft.utils.console import print_json, print_tables


@click.command("recipes")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the recipes, a row each.

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
    for heading in ("recipe", "what it learns", "encoders"):
        table.add_column(heading, no_wrap=heading != "what it learns")
    for r in recipes:
        table.add_row(r.name, r.summary, "\n".join(r.recommended), end_section=True)
    print_tables(table)
