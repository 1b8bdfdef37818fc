"""The commands, code blocks and links of all Markdown files, and the site."""

import ast
import configparser
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
import yaml
from click.testing import CliRunner

from tests.conftest import make_checkpoint, make_reviews, write_csv
from tests.integration.docs.markdown import (
    ROOT,
    anchors,
    code_blocks,
    commands,
    links,
    markdown_files,
    shell_lines,
    site_pages,
)
from tfhub_ft.cli.main import COMMANDS, group
from tfhub_ft.encoders.convert import convert_checkpoint
from tfhub_ft.recipe import RECIPES

FILES = markdown_files()
TEXTS = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in FILES}
# Pages whose commands do not run one after the other here, and why.
NOT_RUN = {
    "docs/guide/interruptions.md": "needs an interrupted run, see tests/integration/training/test_interruptions.py",
    "docs/guide/dialogues.md": "needs a language model; tests/integration/language_models runs such commands",
}
# Commands that do not run here: they need other machines or a download, or test_copy.py runs them.
ELSEWHERE = ("--strategy multi-worker", "./stars.py", "runs/stars", "encoders pull", "models.example.com")
RUN = [name for name, text in TEXTS.items() if commands(text) and name not in NOT_RUN]


pytestmark = pytest.mark.usefixtures("general_options")


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


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_page_has_valid_commands(name):
    pytest.importorskip("mkdocs", reason="needs pip install '.[docs]'")
    lines = commands(site_pages().recipe_page(name))
    assert len(lines) >= 3
    for line in lines:
        parse(group, words_of(line))


def test_markdown_files_are_found_in_every_folder():
    assert {"README.md", "docs/index.md", "docs/guide/tutorial.md", "docs/design/layout.md"} <= TEXTS.keys()
    assert {"recipes/README.md", "examples/README.md", "benchmarks/README.md"} <= TEXTS.keys()
    assert NOT_RUN.keys() <= TEXTS.keys()


@pytest.mark.sample
@pytest.mark.parametrize("line", sorted({line for text in TEXTS.values() for line in commands(text)}))
def test_command_is_valid(line):
    parse(group, words_of(line))


@pytest.mark.parametrize("name", TEXTS)
def test_other_shell_lines_name_existing_things(name):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in shell_lines(TEXTS[name]):
        for script in re.findall(r"^python ([\w/]+\.py)", line):
            assert (ROOT / script).is_file(), line
        for target in re.findall(r"^make ([a-z-]+)", line):
            assert target in targets, line
        for named in re.findall(r"(?:tfhub_ft|'\.)\[([\w,-]+)\]", line):
            assert {*named.split(",")} <= extras.keys(), line


@pytest.mark.parametrize("name", TEXTS)
def test_code_blocks_can_be_parsed(name):
    for language, content in code_blocks(TEXTS[name]):
        if language == "python":
            ast.parse(inspect.cleandoc(content) if content.startswith(" ") else content)
        elif language == "json":
            json.loads(content)
        elif language in ("yaml", "yml"):
            list(yaml.safe_load_all(content))


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_files_and_headings(name):
    # Pages of the site that are generated are in its navigation alone.
    in_navigation = re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    for target in links(TEXTS[name]):
        path, _, anchor = target.partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        in_site = name.startswith("docs/") and file.relative_to(ROOT / "docs").as_posix() in in_navigation
        assert in_site or file.exists(), target
        if anchor and file.suffix == ".md" and not in_site:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def helps(command, name):
    """The help texts of a command and of those below it."""
    yield name, command.help or ""
    if isinstance(command, click.Group):
        for below in command.list_commands(None):
            yield from helps(command.get_command(None, below), f"{name} {below}")


@pytest.mark.sample
@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_valid_examples(name):
    for described, text in helps(importlib.import_module(COMMANDS[name]).command, name):
        paragraphs = [part for part in inspect.cleandoc(text).split("\n\n") if re.match(r"\W*Examples?:", part)]
        lines = [line for part in paragraphs for line in re.findall(r"tfhub-ft .*", part)]
        assert lines, described
        for line in lines:
            parse(group, words_of(line))


# Names in commands, and what replaces them here.
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
    titled = [(*text.split(" ", 1), label) for text, label in make_reviews(80)]
    write_csv(tmp_path / "articles.csv", titled, header=("title", "body", "label"))
    write_csv(tmp_path / "news.csv", make_reviews(80))
    write_csv(tmp_path / "other.csv", make_reviews(40, seed=2), header=("headline", "section"))
    kinds = {"positive": "ham", "negative": "spam"}
    write_csv(tmp_path / "messages.csv", [(text, kinds[label]) for text, label in make_reviews(80)])
    (tmp_path / "unlabeled.txt").write_text("".join(f"{text}\n" for text, _ in make_reviews(8)))
    sentences = [f"{text.split()[0]} O\n{text.split()[1]} B-thing\n" for text, _ in make_reviews(80)]
    (tmp_path / "entities.conll").write_text("\n".join(sentences))
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
    """The words of a command, with options appended that make it fast: the last value of an option counts."""
    words = [STAND_INS.get(word, word) for word in words_of(line)]
    if words[0] in ("train", "tune", "launch") and not {"--config", "--prepared"} & {*words}:
        words += [*TINY, *([] if "--from" in words else ["--encoder", str(encoder)])]
    if "--overlap" in words:
        words += ["--overlap", "4"]
    if words[0] == "prepare":
        words += ["--encoder", str(encoder), *TINY[:2]]
    return words + ["--trials", "1"] if words[0] == "tune" else words


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_commands_of_a_page_run_in_order(name, folder, tiny_run, tiny_pair):
    lines = [line for line in commands(TEXTS[name]) if not any(words in line for words in ELSEWHERE)]
    for run in ("runs/reviews", "runs/others"):
        if not any(" train " in line and line.endswith(f"--output-dir {run}") for line in lines):
            shutil.copytree(tiny_run, folder / run)
    for line in lines:
        done = CliRunner().invoke(group, made_tiny(line, tiny_pair))
        assert done.exit_code == 0, (line, done.output, done.exception)


def test_readme_python_runs(tmp_path):
    # The recipes' default --seq-length is 128.
    pair = tmp_path / "tiny"
    convert_checkpoint(make_checkpoint(tmp_path / "checkpoint", max_position_embeddings=128), pair)
    blocks = re.findall(r"^```python\n(.*?)^```", TEXTS["README.md"], re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        names: dict = {}
        exec(block.replace("minilm-l6", str(pair)), names)
    assert names["encoded"]["pooled_output"].shape == (2, 32)


@pytest.mark.sample
def test_readme_make_targets_exist():
    targets = re.findall(r"^make (\S+)", TEXTS["README.md"], re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in targets:
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0


def test_parse_rejects_unknown_options():
    with pytest.raises(click.UsageError):
        parse(group, ["evaluate", "runs/one", "--no-such-option"])


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs pip install '.[docs]'")
def test_site_builds_without_warnings(tmp_path):
    # With --quiet, --strict would not see the warnings.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = tmp_path / "site" / "recipes"
    assert "seq-length" in (pages / "index.html").read_text()
    for name in RECIPES:
        text = re.sub(r"<[^>]+>", "", (pages / name / "index.html").read_text())
        assert f"tfhub-ft train {name}" in text
