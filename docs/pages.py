"""Pages of the documentation that are made from what the package says of itself, each time the site is built."""

import dataclasses
from pathlib import Path

from mkdocs.structure.files import File

from tfhub_ft.encoders.catalog import CATALOG
from tfhub_ft.language_models import presets
from tfhub_ft.recipe import RECIPES, load_recipe
from tfhub_ft.settings import Settings, option_name

ROOT = Path(__file__).parents[1]
LINES_SHOWN, WIDTH = 6, 110
MEASURED_COLUMNS = ("recipe", "learns", "data", "score", "command")


def on_files(files, config):
    """Add the pages that are made here to those of the folder."""
    for name, text in {
        "recipes/index.md": recipes(),
        **{f"recipes/{name}.md": recipe_page(name) for name in RECIPES},
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
    """The recipes as a table, and what can be set in all of them."""
    rows = [f"| [{name}]({name}.md) | {load_recipe(name).summary} |" for name in RECIPES]
    head = ["# Recipes", "", "| recipe | what it learns |", "|---|---|"]
    return "\n".join([*head, *rows, "", "## Settings of every recipe", "", *settings_table(Settings())])


def recipe_page(name):
    """What a recipe is: the rows that it reads, its commands, its builder, its own settings, its measured scores."""
    recipe = load_recipe(name)
    texts = " ".join(f'"a {field} of yours"' for field in recipe.task.fields)
    commands = [
        f"tfhub-ft train {name} --data rows{recipe.demo.suffix} --output-dir runs/mine",
        f"tfhub-ft evaluate runs/mine --data more{recipe.demo.suffix}",
        f"tfhub-ft predict runs/mine {texts}",
        "tfhub-ft export runs/mine --output-dir saved_models/mine",
    ]
    parts = [
        f"# {name}",
        recipe.summary,
        f"Models that suit it: {', '.join(recipe.recommended)}.",
        f"## Rows\n\nThe first lines of its demo rows, `{recipe.demo.name}`:",
        "\n".join(["```text", *first_lines(recipe.demo), "```"]),
        "## Commands",
        "\n".join(["```", *commands, "```"]),
        "## In Python",
        f"::: recipes.{name}.build_model\n    options:\n      show_root_full_path: false\n      heading_level: 3",
    ]
    if own := settings_table(recipe.settings, only_own=True):
        parts += ["## Settings of its own", "\n".join(own)]
        if isinstance(recipe.settings, Settings):
            parts.append("The others are [those of every recipe](index.md).")
        else:
            parts.append("Others, where this recipe has them, are [those of every recipe](index.md).")
    if rows := measured(name):
        head = ["| data | score on the test split | command |", "|---|---|---|"]
        parts += ["## Measured", f"With the {recipe.settings.pretrained}, on 2 cores:", "\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def first_lines(demo):
    """The first lines of a file of demo rows, cut where they are long."""
    lines = demo.read_text(encoding="utf-8").splitlines()[:LINES_SHOWN]
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in lines]


def measured(name):
    """A recipe's rows in the table of recipes/README.md: data, score, command."""
    found, current = [], None
    for line in (ROOT / "recipes" / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == len(MEASURED_COLUMNS):
            current = cells[0].partition("]")[0].strip("[") or current
            if current == name:
                found.append(f"| {' | '.join(cells[2:])} |")
    return found


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
    rows = [f"| `{each.name}` | {each.handle} | {each.licence} |" for each in CATALOG]
    head = ["# Encoders", "", "`--encoder` takes one of these names, a handle, the URL of an archive, or a folder.", ""]
    table = [*head, "| name | handle | licence |", "|---|---|---|", *rows, ""]
    return "\n".join([*table, *language_models()])


def language_models():
    """The causal language models of the catalogue as a table."""
    rows = [f"| `{each.name}` | {each.source} | {each.licence} |" for each in presets.CATALOG]
    says = "`--language-model` takes one of these names, a KerasHub preset (folder, name or handle), or a .gguf file."
    return ["## Language models", "", says, "", "| name | source | licence |", "|---|---|---|", *rows, ""]
