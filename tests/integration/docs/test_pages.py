"""The content of single pages, compared with the code, and their Python code."""

import importlib
import re

import click
import pytest

from tests.conftest import make_checkpoint, make_reviews, write_csv
from tests.integration.docs.markdown import ROOT, code_blocks, markdown_files, site_pages
from tfhub_ft.cli.main import COMMANDS
from tfhub_ft.encoders.convert import convert_checkpoint
from tfhub_ft.recipe import RECIPES, load_recipe
from tfhub_ft.settings import option_name

DOCS = ROOT / "docs"
MIGRATIONS = sorted(path.name for path in DOCS.glob("how-to/from-*.md"))
# Options of every command, which the page of the command line describes once.
GENERAL = {"--debug", "--help", "--quiet", "--trust"}
TERM = re.compile(r"^## (.+)\n\n((?:[^\n]+\n)+)", re.MULTILINE)


def read(name):
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """A tiny encoder for 128 tokens; the working folder has files of reviews."""
    convert_checkpoint(make_checkpoint(tmp_path / "checkpoint", max_position_embeddings=128), tmp_path / "tiny")
    write_csv(tmp_path / "reviews.csv", make_reviews(80))
    write_csv(tmp_path / "more_reviews.csv", make_reviews(20, seed=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "tiny"


def run_blocks(text, encoder):
    """Run the Python blocks of a page in one namespace, with a tiny encoder and one epoch."""
    names: dict = {}
    for language, block in code_blocks(text):
        if language == "python":
            exec(block.replace("minilm-l6", str(encoder)).replace("epochs=3", "epochs=1"), names)
    return names


@pytest.mark.parametrize("name", MIGRATIONS)
def test_migration_page_has_code_before_and_after(name):
    counts = [len(re.findall(rf"\*\*{word}\*\*\n\n```python", read(f"how-to/{name}"))) for word in ("Before", "After")]
    assert counts[0] == counts[1] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", MIGRATIONS)
def test_migration_code_after_runs(name, encoder):
    after = re.sub(r"\*\*Before\*\*\n\n```python\n.*?```", "", read(f"how-to/{name}"), flags=re.DOTALL)
    names = run_blocks(after, encoder)
    if "run" in names:
        assert 0 <= names["run"].metrics["test"]["accuracy"] <= 1
    if "model" in names:
        assert names["model"].predict(names["tf"].constant(["good film"])).shape == (1, 2)


@pytest.mark.slow
def test_keras_page_code_runs(encoder, tiny_run):
    (encoder.parent / "runs").mkdir()
    (encoder.parent / "runs" / "reviews").symlink_to(tiny_run)
    names = run_blocks(read("guide/keras.md").replace('("adapter', '("./adapter'), encoder)
    assert names["model"].get_layer("token_model")


def options(command, context=None):
    """Yield the options that the help of a command and of its subcommands shows."""
    context = click.Context(command, info_name=command.name, parent=context)
    shown = [parameter for parameter in command.get_params(context) if not getattr(parameter, "hidden", False)]
    yield from (name for parameter in shown for name in parameter.opts if name.startswith("--"))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from options(command.get_command(context, name), context)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_line_page_has_all_options(name):
    pytest.importorskip("mkdocs", reason="needs pip install '.[docs]'")
    page = site_pages().command_line()
    (section,) = re.findall(rf"^## tfhub-ft {name}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    names = {*options(importlib.import_module(COMMANDS[name]).command)} - GENERAL
    assert not [option for option in names if not re.search(rf"`[^`]*{option}\b", section)]


def test_environment_page_has_all_variables():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tfhub_ft").rglob("*.py"))
    variables = {*re.findall(r'"(TFHUB_FT_[A-Z]+)"', code)}
    assert variables
    assert variables == {*re.findall(r"`(TFHUB_FT_[A-Z]+)`", read("reference/environment.md"))}


def test_run_folder_page_has_the_files_of_a_run(tiny_run):
    listed = {name.rstrip("/") for name in re.findall(r"^\| `([^`]+)`", read("reference/run-folder.md"), re.MULTILINE)}
    assert {path.name for path in tiny_run.iterdir() if path.name[0] != "."} <= listed


def test_export_folder_page_has_the_files_of_an_export(tiny_export):
    page = read("reference/export-folder.md")
    files = [path for path in tiny_export.iterdir() if path.name[0] != "."]
    assert files
    for path in [*files, *(tiny_export / "1" / "assets.extra").iterdir()]:
        assert path.name in page


def test_data_formats_page_has_the_column_options_of_all_recipes():
    page = read("guide/data-formats.md")
    for recipe in RECIPES:
        names = [name for name in load_recipe(recipe).settings.names() if name.endswith("_column")]
        # Each file has these options, which the page describes by examples.
        names = [name for name in names if not name.startswith(("validation_", "test_"))]
        assert names
        assert all(f"`{option_name(name)}`" in page for name in names)


def test_glossary_defines_terms_in_order_and_in_two_sentences():
    terms = TERM.findall(read("glossary.md"))
    assert len(terms) == 30
    assert [term.lower() for term, _ in terms] == sorted(term.lower() for term, _ in terms)
    for term, text in terms:
        assert len(re.findall(r"[.](?=\s|$)", text)) <= 2, term


@pytest.mark.parametrize("name", sorted(path.name for path in DOCS.glob("design/*.md")))
def test_design_page_names_existing_modules(name):
    prose = read(f"design/{name}").split("## Modules of version 0.1.0")[0]
    for module in re.findall(r"`([\w/.]+/[\w.]+\.(?:py|j2))`", prose):
        assert (ROOT / module).exists() or (ROOT / "tfhub_ft" / module).exists(), module


def test_every_page_of_docs_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [file.relative_to(DOCS).as_posix() for file in markdown_files() if DOCS in file.parents]
    assert not [page for page in pages if f" {page}\n" not in navigation]
