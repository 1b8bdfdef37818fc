"""The documentation says what there is: its commands are commands, and run; and its site builds."""

import importlib
import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.conftest import make_checkpoint, make_reviews, write_csv
from tfhub_ft.cli.main import COMMANDS, group
from tfhub_ft.encoders.convert import convert_checkpoint
from tfhub_ft.recipe import RECIPES

ROOT = Path(__file__).parents[3]
FILES = [
    ROOT / "README.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "recipes").glob("*.md")),
]
# The pages whose commands run one after the other.
RUN = [
    ROOT / "README.md",
    ROOT / "examples" / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("index", "tutorial", "training", "deployment", "several-machines")),
    ROOT / "recipes" / "ADD-RECIPE.md",
]
# What runs on a page, but not here: it needs other machines, or is run by tests/integration/recipes/test_copy.py.
ELSEWHERE = ("--strategy multi-worker", "./stars.py")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Restore the environment variables that --quiet, --debug and --trust set."""
    for name in ("TFHUB_FT_QUIET", "TFHUB_FT_DEBUG", "TFHUB_FT_TRUST"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)


def commands(file):
    """The lines of a file's code blocks that call tfhub-ft."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = "".join(block for language, block in blocks if not language).splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.startswith("tfhub-ft ")]


def parse(command, arguments):
    """Parse a command line down to the command that would run, without running it."""
    with command.make_context(command.name, arguments) as context:
        if isinstance(command, click.Group):
            name, *rest = [*context._protected_args, *context.args]
            parse(command.get_command(context, name), rest)


def words_of(line):
    """The words of a command, with a recipe file that exists."""
    line = line.replace("NAME ", "sentiment ")
    if not Path("mine.py").exists():
        line = re.sub(r"\./\w+\.py", str(ROOT / "recipes" / "spam.py"), line)
    return shlex.split(line)[1:]


def written(name):
    """A page of the site that is made when it is built, of a recipe."""
    pytest.importorskip("mkdocs", reason="needs pip install '.[docs]'")
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    return pages.recipe_page(name)


@pytest.mark.parametrize("name", RECIPES)
def test_the_commands_of_a_recipes_page_can_be_parsed(name, tmp_path):
    (tmp_path / "page.md").write_text(written(name))
    lines = commands(tmp_path / "page.md")
    assert len(lines) >= 3
    for line in lines:
        parse(group, words_of(line))


@pytest.mark.sample
@pytest.mark.parametrize("line", sorted({line for file in FILES for line in commands(file)}))
def test_a_command_of_the_documentation_can_be_parsed(line):
    parse(group, words_of(line))


def helps(command, name):
    """The help texts of a command and of those below it."""
    yield name, command.help or ""
    if isinstance(command, click.Group):
        for below in command.list_commands(None):
            yield from helps(command.get_command(None, below), f"{name} {below}")


@pytest.mark.sample
@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_that_can_be_parsed(name):
    for described, text in helps(importlib.import_module(COMMANDS[name]).command, name):
        paragraphs = [part for part in inspect.cleandoc(text).split("\n\n") if re.match(r"\W*Examples?:", part)]
        lines = [line for part in paragraphs for line in re.findall(r"tfhub-ft .*", part)]
        assert lines, described
        for line in lines:
            parse(group, words_of(line))


# What the commands name, and what stands for it here.
STAND_INS = {"layers:3": "layers:1"}
TINY = ["--seq-length", "24", "--epochs", "1", "--batch-size", "8", "--learning-rate", "5e-3"]


@pytest.fixture
def folder(tiny_checkpoint, tmp_path, monkeypatch):
    """The folder that commands run in, with the files that they name, and a program named as TF Serving's."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "reviews.csv", make_reviews(160))
    write_csv(tmp_path / "more_reviews.csv", make_reviews(40, seed=1))
    write_csv(tmp_path / "new.csv", [("A-1", "good film"), ("A-2", "")], header=("id", "text"))
    write_csv(tmp_path / "urls.csv", make_reviews(80), header=("url", "label"))
    write_csv(tmp_path / "rows.csv", make_reviews(80))
    for part in (1, 2):
        rows = [json.dumps({"text": text, "label": label}) for text, label in make_reviews(80, seed=part)]
        (tmp_path / f"part-{part}.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "corpus").mkdir()
    for part in (1, 2):
        lines = [json.dumps({"text": text}) for text, _ in make_reviews(8, seed=part)]
        (tmp_path / "corpus" / f"part-{part}.jsonl").write_text("\n".join(lines) + "\n")
    shutil.copytree(tiny_checkpoint, tmp_path / "my_checkpoint")
    server = tmp_path / "bin" / "tensorflow_model_server"
    server.parent.mkdir()
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{server.parent}:{os.environ['PATH']}")
    return tmp_path


def made_tiny(line, encoder):
    """The words of a command, with options behind them that make it fast: the last one of an option counts."""
    words = [STAND_INS.get(word, word) for word in words_of(line)]
    if words[0] in ("train", "tune", "launch") and not {"--config", "--prepared"} & {*words}:
        words += ["--encoder", str(encoder), *TINY]
    if words[0] == "prepare":
        words += ["--encoder", str(encoder), *TINY[:2]]
    return words + ["--trials", "1"] if words[0] == "tune" else words


@pytest.mark.slow
@pytest.mark.parametrize("file", RUN, ids=lambda file: file.parent.name + "-" + file.stem)
def test_the_commands_of_a_page_run_one_after_the_other(file, folder, tiny_run, tiny_pair):
    lines = [line for line in commands(file) if not any(words in line for words in ELSEWHERE)]
    for run in ("runs/reviews", "runs/others"):
        if not any(" train " in line and line.endswith(f"--output-dir {run}") for line in lines):
            shutil.copytree(tiny_run, folder / run)
    for line in lines:
        done = CliRunner().invoke(group, made_tiny(line, tiny_pair))
        assert done.exit_code == 0, (line, done.output, done.exception)


def test_the_python_of_the_readme_runs(tmp_path):
    # The recipes' default --seq-length is 128.
    pair = tmp_path / "tiny"
    convert_checkpoint(make_checkpoint(tmp_path / "checkpoint", max_position_embeddings=128), pair)
    blocks = re.findall(r"^```python\n(.*?)^```", FILES[0].read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        names: dict = {}
        exec(block.replace("minilm-l6", str(pair)), names)
    assert names["encoded"]["pooled_output"].shape == (2, 32)


@pytest.mark.sample
def test_the_targets_of_make_are_there():
    targets = re.findall(r"^make (\S+)", FILES[0].read_text(encoding="utf-8"), re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0


def test_a_command_that_does_not_exist_would_be_found():
    with pytest.raises(click.UsageError):
        parse(group, ["evaluate", "runs/one", "--no-such-option"])


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs pip install '.[docs]'")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = tmp_path / "site" / "recipes"
    assert "seq-length" in (pages / "index.html").read_text()
    for name in RECIPES:
        assert f"tfhub-ft train {name}" in (pages / name / "index.html").read_text()
