"""The documentation says what there is: its commands are commands, and its site builds."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tfhub_ft.cli.main import FLAGS, group

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "recipes").glob("*.md"))]


def commands(file):
    """The lines of a file's code blocks that call tfhub-ft."""
    blocks = re.findall(r"^```\n(.*?)^```", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.startswith("tfhub-ft ")]


def parse(command, arguments):
    """Parse a command line down to the command that would run, without running it."""
    with command.make_context(command.name, arguments) as context:
        if isinstance(command, click.Group):
            name, *rest = [*context._protected_args, *context.args]
            parse(command.get_command(context, name), rest)


@pytest.mark.parametrize("line", sorted({line for file in FILES for line in commands(file)}))
def test_a_command_of_the_documentation_can_be_parsed(line, monkeypatch, tmp_path):
    line = line.replace("./mine.py", str(ROOT / "recipes" / "spam.py")).replace("NAME ", "sentiment ")
    parse(group, [argument for argument in shlex.split(line)[1:] if argument not in FLAGS])


def test_a_command_that_does_not_exist_would_be_found():
    with pytest.raises(click.UsageError):
        parse(group, ["evaluate", "runs/one", "--no-such-option"])


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs pip install '.[docs]'")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seq-length" in (tmp_path / "site" / "recipes" / "index.html").read_text()
