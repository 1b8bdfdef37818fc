"""The Markdown files of the project, their code blocks, commands and links."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Folders with files that the project does not track.
UNTRACKED = {"build", "dist", "node_modules", "runs", "shared", "site"}
SHELLS = {"", "bash", "console", "sh", "shell"}
_BLOCK = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def markdown_files() -> list[Path]:
    """Return all Markdown files of the project."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."]
    folders = [path for path in folders if path.name not in UNTRACKED and path.suffix != ".egg-info"]
    files = [*ROOT.glob("*.md"), *(file for folder in folders for file in folder.rglob("*.md"))]
    return sorted(file for file in files if is_tracked(file))


def is_tracked(file: Path) -> bool:
    """Return whether a file is in a folder that the project tracks; of saved_models, only the README is."""
    parts = file.relative_to(ROOT).parts
    return not UNTRACKED & {*parts} and (parts[0] != "saved_models" or parts == ("saved_models", "README.md"))


def code_blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the content of each fenced code block."""
    yield from _BLOCK.findall(text)


def shell_lines(text: str) -> list[str]:
    """Return the command lines of the shell blocks, without comments, with continuation lines joined."""
    blocks = [content for language, content in code_blocks(text) if language in SHELLS]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in (each.split(" #")[0].strip() for each in lines) if line and not line.startswith("#")]


def commands(text: str) -> list[str]:
    """Return the commands of tfhub-ft in the shell blocks, also those that another program such as srun starts."""
    lines = [re.sub(r"^(srun .*?|docker run .*?)(?=tfhub-ft )", "", line) for line in shell_lines(text)]
    return [line for line in lines if line.startswith("tfhub-ft ")]


def links(text: str) -> list[str]:
    """Return the targets of links and pictures, without code blocks and web addresses."""
    prose = re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", text))
    return [target for target in _LINK.findall(prose) if not re.match(r"https?:|mailto:", target)]


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as MkDocs and GitHub make them."""
    headings = re.findall(r"^#+ +(.+)$", _BLOCK.sub("", text), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


def site_pages():
    """Return docs/pages.py as a module."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    return pages
