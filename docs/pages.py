"""Pages of the documentation that are made from what the package says of itself, each time the site is built."""

import dataclasses
from pathlib import Path

from mkdocs.structure.files import File

from tfhub_ft.encoders.catalogue import CATALOGUE
from tfhub_ft.recipe import RECIPES, load_recipe
from tfhub_ft.settings import Settings, option_name

ROOT = Path(__file__).parents[1]


def on_files(files, config):
    """Add the pages that are made here to those of the folder."""
    for name, text in {
        "recipes.md": recipes(),
        "encoders.md": encoders(),
        "design.md": without_links((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")),
        "figures.md": without_links((ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")),
    }.items():
        files.append(File.generated(config, name, content=text))
    return files


def without_links(text):
    """A file of the repository, whose links to other files lead nowhere from here."""
    import re

    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)


def recipes():
    """A section a recipe: what it is, how it is trained, what it adds to the settings of all."""
    parts = ["# Recipes", "", "What can be set in every recipe stands at the end.", ""]
    for name in RECIPES:
        recipe = load_recipe(name)
        fields = ", ".join(f"`{field}`" for field in recipe.task.fields)
        parts += [
            f"## {name}",
            "",
            recipe.summary,
            "",
            "```",
            f"tfhub-ft train {name} --data rows{recipe.demo.suffix} --output-dir runs/mine",
            "```",
            "",
            f"A prediction reads {fields}. Encoders that suit it: {', '.join(recipe.recommended)}.",
            "",
            *settings_table(recipe.settings, only_own=True),
        ]
    return "\n".join([*parts, "## Settings of every recipe", "", *settings_table(Settings())])


def settings_table(settings, *, only_own=False):
    """A row a setting; of a recipe those that others have not, and those with another default."""
    common = {field.name: field.default for field in dataclasses.fields(Settings)}
    rows = [
        f"| `{option_name(field.name)}` | {field.metadata['help']} | {getattr(settings, field.name)} |"
        for field in dataclasses.fields(settings)
        if not only_own or common.get(field.name, ...) != getattr(settings, field.name)
    ]
    return ["| option | what it does | default |", "|---|---|---|", *rows, ""] if rows else []


def encoders():
    """The catalogue as a table."""
    rows = [f"| `{each.name}` | {each.handle} | {each.licence} |" for each in CATALOGUE]
    head = ["# Encoders", "", "`--encoder` takes one of these names, a handle, the URL of an archive, or a folder.", ""]
    return "\n".join([*head, "| name | handle | licence |", "|---|---|---|", *rows, ""])
