"""Generate the pages of the site that come from the code and from Markdown files outside docs/."""

import contextlib
import dataclasses
import inspect
import os.path
import re
from pathlib import Path

import click
from mkdocs.structure.files import File

from tfhub_ft.cli.main import group
from tfhub_ft.encoders.catalog import CATALOG
from tfhub_ft.language_models import presets
from tfhub_ft.recipe import RECIPES, load_recipe
from tfhub_ft.settings import Settings, option_name

ROOT = Path(__file__).parents[1]
LINES_SHOWN, WIDTH = 6, 110
MEASURED_COLUMNS = ("recipe", "learns", "data", "score", "command")
# Pages that are Markdown files outside docs/.
COPIED = {
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "examples.md": "examples/README.md",
    "how-to/own-recipe.md": "recipes/ADD-RECIPE.md",
}
LINK = re.compile(r"(!?)\[([^\]]+)\]\((?!https?:|#)([^)\s]+)\)")


def on_files(files, config):
    """Add the generated pages to those of docs/."""
    for name, text in generated_pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def generated_pages():
    """Return the Markdown of each generated page by its path in the site."""
    return {
        "recipes/index.md": recipes(),
        **{f"recipes/{name}.md": recipe_page(name) for name in RECIPES},
        "reference/cli.md": command_line(),
        "reference/encoders.md": encoders(),
        **{page: copied_page(page) for page in COPIED},
    }


def copied_page(page):
    """Return a Markdown file of the repository, with its links pointing into the site."""
    source = ROOT / COPIED[page]

    def site_link(match):
        is_image, label, target = match.groups()
        path, _, anchor = target.partition("#")
        linked = site_page((source.parent / path).resolve())
        if linked is None:
            return label
        link = os.path.relpath(linked, Path(page).parent) + (f"#{anchor}" if anchor else "")
        return f"{is_image}[{label}]({link})"

    return LINK.sub(site_link, source.read_text(encoding="utf-8"))


def site_page(path):
    """Return the path in the site of a file of the repository; None if it has none."""
    name = path.relative_to(ROOT).as_posix()
    for page, source in COPIED.items():
        if name == source:
            return page
    if name.startswith("docs/") and path.is_file():
        return name.removeprefix("docs/")
    if name == "recipes/README.md":
        return "recipes/index.md"
    if path.parent.name == "recipes" and path.stem in RECIPES:
        return f"recipes/{path.stem}.md"
    return None


def recipes():
    """Return the table of recipes and the settings that all of them have."""
    rows = [f"| [{name}]({name}.md) | {load_recipe(name).summary} |" for name in RECIPES]
    intro = (
        "A recipe is a short Python module with a model, a loss, metrics and default settings. Each has a page with its"
        " data format, its commands, its builder and its measured scores. To change one,"
        " [copy it](../how-to/own-recipe.md)."
    )
    head = ["# Recipes", "", intro, "", "| Recipe | Task |", "|---|---|"]
    return "\n".join([*head, *rows, "", "## Settings of every recipe", "", *settings_table(Settings())])


def recipe_page(name):
    """Return the page of a recipe: data, commands, builder, settings and measured scores."""
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
        f"Recommended models: {', '.join(recipe.recommended)}.",
        f"## Data\n\nThe first lines of the demo rows, `{recipe.demo.name}`:",
        "\n".join(["```text", *first_lines(recipe.demo), "```"]),
        "[Data formats](../guide/data-formats.md) describes all formats that can be read.",
        "## Commands",
        "\n".join(["```sh", *commands, "```"]),
        "## Python",
        f"::: recipes.{name}.build_model\n    options:\n      show_root_full_path: false\n      heading_level: 3",
    ]
    if own := settings_table(recipe.settings, only_own=True):
        parts += ["## Settings of this recipe", "\n".join(own)]
        if isinstance(recipe.settings, Settings):
            parts.append("All other settings are [those of every recipe](index.md).")
        else:
            parts.append("Other settings that this recipe has are described with [those of every recipe](index.md).")
    if rows := measured(name):
        head = ["| Data | Test score | Command |", "|---|---|---|"]
        parts += ["## Measured", f"With the {recipe.settings.pretrained}, on 2 cores:", "\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def first_lines(demo):
    """Return the first lines of a file of demo rows, truncated to the width of a code block."""
    lines = demo.read_text(encoding="utf-8").splitlines()[:LINES_SHOWN]
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in lines]


def measured(name):
    """Return the rows of a recipe in the table of recipes/README.md: data, score, command."""
    rows, current = [], None
    for line in (ROOT / "recipes" / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == len(MEASURED_COLUMNS):
            current = cells[0].partition("]")[0].strip("[") or current
            if current == name:
                rows.append(f"| {' | '.join(cells[2:])} |")
    return rows


def settings_table(settings, *, only_own=False):
    """Return a table of settings.

    Args:
        settings: the settings with their defaults.
        only_own: whether to leave out settings that every recipe has with the same default.
    """
    common = {field.name: field.default for field in dataclasses.fields(Settings)}
    rows = [
        f"| `{option_name(field.name)}` | {escape(field.metadata['help'])} | {getattr(settings, field.name)} |"
        for field in dataclasses.fields(settings)
        if not only_own or common.get(field.name, ...) != getattr(settings, field.name)
    ]
    return ["| Option | Description | Default |", "|---|---|---|", *rows, ""] if rows else []


def encoders():
    """Return the page of the catalogs of encoders and language models."""
    rows = [f"| `{each.name}` | {each.handle} | {each.license} |" for each in CATALOG]
    intro = (
        "`--encoder` takes one of these names, a handle, the URL of an archive, or a folder. See"
        " [Encoders](../guide/encoders.md)."
    )
    table = ["# Encoder catalog", "", intro, "", "| Name | Handle | License |", "|---|---|---|", *rows, ""]
    return "\n".join([*table, *language_models()])


def language_models():
    """Return the table of the causal language models of the catalog."""
    rows = [f"| `{each.name}` | {each.source} | {each.license} |" for each in presets.CATALOG]
    intro = (
        "`--language-model` takes one of these names, a KerasHub preset (folder, name or handle), or a `.gguf` file."
    )
    return ["## Language models", "", intro, "", "| Name | Source | License |", "|---|---|---|", *rows, ""]


class HelpRecorder(click.HelpFormatter):
    """A formatter that keeps the usage and the sections of a `--help` page instead of formatting them."""

    def __init__(self):
        super().__init__(width=10_000)
        self.usage, self.sections = "", []

    def write_usage(self, prog, args="", prefix=None):
        """Keep the usage line."""
        self.usage = f"{prog} {args}".strip()

    @contextlib.contextmanager
    def section(self, name):
        """Begin a section."""
        self.sections.append((name, []))
        yield

    def write_dl(self, rows, col_max=30, col_spacing=2):
        """Keep rows of names and descriptions."""
        self.sections[-1][1].extend(rows)

    def write_text(self, text):
        """Leave out text, which comes from the command itself."""


def command_line():
    """Return the page of all commands and options."""
    parts = [
        "# Command line",
        "All commands write results to standard output, and progress and warnings to standard error. Every command also"
        " accepts `--quiet`, `--debug`, `--trust` and `--help`.",
        "| Exit code | Meaning |\n|---|---|\n| 0 | The command succeeded. |\n| 1 | The work failed. |\n"
        "| 2 | The input is wrong: an option, a file or a row. |\n| 130 | Ctrl-C stopped the command. |\n"
        "| 143 | SIGTERM stopped a training run, which saved its state. |",
        *described(group, "tfhub-ft", None, level=0),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def described(command, path, parent, level):
    """Return the Markdown parts of a command and of its subcommands."""
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    recorder = HelpRecorder()
    command.format_help(context, recorder)
    parts = [f"{'#' * (level + 1)} {path}", f"```text\n{recorder.usage}\n```"] if level else []
    parts += help_text(command.help or "")
    names = command.list_commands(context) if isinstance(command, click.Group) else []
    is_recipe_group = names == list(RECIPES)
    if is_recipe_group:
        parts += option_tables(recipe_sections(command, context), level)
    else:
        parts += option_tables([each for each in recorder.sections if level or each[0] != "Commands"], level)
        for name in names:
            parts += described(command.get_command(context, name), f"{path} {name}", context, level + 1)
    return [*parts, *help_text(command.epilog or "")]


def recipe_sections(command, context):
    """Return the sections of a command that has one subcommand for each recipe, merged over the recipes."""
    merged = {}
    for name in RECIPES:
        recorder, subcommand = HelpRecorder(), command.get_command(context, name)
        subcommand.format_options(click.Context(subcommand, info_name=name, parent=context), recorder)
        for title, rows in recorder.sections:
            for option, text in rows:
                merged.setdefault(title, {}).setdefault(option, {})[name] = text
    return [(title, [merged_row(option, texts) for option, texts in rows.items()]) for title, rows in merged.items()]


def merged_row(option, texts):
    """Return one row for an option that several recipes have, perhaps with other defaults."""
    text = next(iter(texts.values()))
    if len({*texts.values()}) > 1:
        text = re.sub(r"\s*\[default: [^\]]*\]", " [the default depends on the recipe]", text)
    if len(texts) == len(RECIPES):
        return option, text
    missing = [name for name in RECIPES if name not in texts]
    scope = f"Only {', '.join(texts)}." if len(texts) <= len(missing) else f"All recipes but {', '.join(missing)}."
    return option, f"{text} {scope}"


def option_tables(sections, level):
    """Return a table for each section of a `--help` page, without the options that every command has."""
    parts = []
    hidden = {"--help"} | ({parameter.opts[0] for parameter in group.params} if level else set())
    sections = [(title, [row for row in rows if row[0] not in hidden]) for title, rows in sections]
    sections = [(title, rows) for title, rows in sections if rows]
    for title, rows in sections:
        heading = "Command" if title == "Commands" else "Option"
        if len(sections) > 1 or not level:
            parts.append(f"**{title}**")
        lines = [f"| `{name.replace('|', chr(92) + '|')}` | {escape(text)} |" for name, text in rows]
        parts.append("\n".join([f"| {heading} | Description |", "|---|---|", *lines]))
    return parts


def help_text(text):
    """Return the Markdown parts of a help text: paragraphs, its examples, and lines that are not wrapped."""
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        is_wrapped, paragraph = not paragraph.startswith("\b"), paragraph.removeprefix("\b\n")
        if re.match(r"Examples?:", paragraph):
            commands = re.sub(r"\s+", " ", re.sub(r"^Examples?:", "", paragraph)).strip()
            lines = [f"tfhub-ft {each.strip()}" for each in commands.split("tfhub-ft ")[1:]]
            parts.append("\n".join(["```sh", *lines, "```"]))
        elif not is_wrapped:
            parts.append(f"```text\n{paragraph}\n```")
        elif paragraph.strip():
            parts.append(escape(paragraph))
    return parts


def escape(text):
    """Return text of a `--help` page for a Markdown table."""
    return re.sub(r"([\[\]|*_])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
