"""Check the wording of code, documentation and commit subjects: the phrases of [tool.prose] in pyproject.toml."""

import re
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
SUFFIXES = (".cff", ".cfg", ".html", ".ipynb", ".j2", ".js", ".md", ".py", ".toml", ".yaml", ".yml")
SUBJECT_LENGTH = 72


def main() -> int:
    """Print each line and commit subject with a ruled-out phrase, and return 1 if there is one."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["prose"]
    phrases = re.compile("|".join(rules["phrases"]), re.IGNORECASE)
    allowed = re.compile("|".join(rules["allowed"]), re.IGNORECASE)
    findings = [
        f"{file}:{number}: ruled-out phrase {match[0]!r}: {line.strip()}"
        for file in _git("ls-files")
        if file.endswith(SUFFIXES) and (ROOT / file).is_file() and file != "pyproject.toml"
        for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1)
        if (match := phrases.search(allowed.sub("", line)))
    ]
    for subject in _new_subjects(rules["commits-after"]):
        if match := phrases.search(subject):
            findings.append(f"commit subject: ruled-out phrase {match[0]!r}: {subject}")
        if len(subject) > SUBJECT_LENGTH:
            findings.append(f"commit subject: longer than {SUBJECT_LENGTH} characters: {subject}")
    print("\n".join(findings) or "Wording: no ruled-out phrases.")
    return 1 if findings else 0


def _new_subjects(base: str) -> list[str]:
    try:
        return _git("log", "--no-merges", "--format=%s", f"{base}..HEAD")
    except subprocess.CalledProcessError:
        # A shallow clone does not have the base commit.
        return _git("log", "--max-count=1", "--format=%s")


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
