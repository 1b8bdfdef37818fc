"""The files around the code agree with it."""

import re
from pathlib import Path

import pytest
import yaml

from tfhub_ft.utils.version import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read_yaml(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_calls_targets_of_the_makefile(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = [step["run"] for job in read_yaml(path)["jobs"].values() for step in job["steps"] if "run" in step]
    called = {command.split()[1] for command in commands if command.startswith("make ")}
    assert len(called) == len(commands) > 0
    assert called <= targets


def test_workflows_are_lint_test_docs_and_release():
    assert [path.stem for path in WORKFLOWS] == ["docs", "lint", "release", "test"]


@pytest.mark.parametrize("path", [path for path in FORMS if path.stem != "config"], ids=lambda path: path.name)
def test_issue_form_has_the_required_parts(path):
    form = read_yaml(path)
    assert form["name"]
    assert form["description"]
    identifiers = [part["id"] for part in form["body"]]
    assert len(identifiers) == len(set(identifiers)) > 0


def test_citation_and_changelog_name_the_version():
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["version"] == __version__
    assert {"cff-version", "title", "message", "authors", "license"} <= set(citation)
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_pre_commit_runs_ruff_and_typos():
    hooks = [hook["id"] for repo in read_yaml(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert hooks == ["ruff-check", "ruff-format", "typos"]


def test_contributing_is_at_most_60_lines():
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_security_policy_links_an_existing_page():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert all((ROOT / link).is_file() for link in links)
