"""A run finds its rows after the run, the files or the current folder have moved."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import make_reviews, write_csv
from tfhub_ft.data.datasets import load_dataset
from tfhub_ft.recipe import load_recipe
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError

ONE = {"data": "rows/all.csv"}
THREE = {"train": "rows/train.csv", "validation": "rows/validation.csv", "test": "rows/test.csv"}
PATTERN = {"data": "rows/part-*.csv"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return the current folder, which has rows; its name looks like a pattern."""
    folder = tmp_path / "pro[j]ect"
    (folder / "rows").mkdir(parents=True)
    for number, name in enumerate(("all", "train", "validation", "test", "part-1", "part-2")):
        write_csv(folder / "rows" / f"{name}.csv", make_reviews(40, seed=number))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(folder)
    return folder


def start_run(settings, folder="runs/one"):
    recipe = load_recipe("sentiment")
    resolved = recipe.settings.replaced(settings)
    data = load_dataset(recipe.task, resolved, recipe.demo)
    return Run.create(Path(folder), "sentiment", resolved, data.labels, data.described(Path(folder)))


def texts(data):
    return {name: [row.values["text"] for row in split.rows] for name, split in data.splits.items()}


@pytest.mark.parametrize("settings", [ONE, THREE, {"train": "rows/train.csv"}, PATTERN, {}])
@pytest.mark.parametrize("absolute", [False, True])
def test_run_finds_rows_from_another_folder(project, monkeypatch, settings, absolute):
    if absolute:
        settings = {name: os.path.abspath(path) for name, path in settings.items()}
        if "*" in str(settings):
            pytest.skip("the name of the folder would be part of the pattern")
    run = start_run(settings)
    expected = texts(run.load_rows())
    monkeypatch.chdir(project.parent / "elsewhere")
    assert texts(Run(project / "runs" / "one").load_rows()) == expected


@pytest.mark.parametrize("settings", [ONE, THREE, PATTERN, {}])
def test_run_finds_rows_after_a_move(project, monkeypatch, settings):
    expected = texts(start_run(settings).load_rows())
    moved = project.parent / "elsewhere" / "mo*ed"
    shutil.move(project, moved)
    monkeypatch.chdir("/")
    data = Run(moved / "runs" / "one").load_rows()
    assert texts(data) == expected
    if settings:
        assert all(str(split.file).startswith(str(moved.parent)) for split in data.splits.values())


def test_run_prefers_rows_at_the_given_path(project, monkeypatch):
    run = start_run(ONE)
    there = shutil.copytree(project / "rows", project.parent / "elsewhere" / "rows")
    monkeypatch.chdir(there.parent)
    run = Run(project / run.path)
    assert run.located_settings().data == "rows/all.csv"
    write_csv(there / "all.csv", make_reviews(40, seed=9))
    assert run.located_settings().data == str(project / "rows" / "all.csv")


def test_run_finds_rows_through_a_linked_folder(project, monkeypatch):
    (project / "disk" / "deep").mkdir(parents=True)
    (project / "runs").symlink_to(project / "disk" / "deep")
    expected = texts(start_run(ONE).load_rows())
    monkeypatch.chdir(project.parent)
    for path in (project / "runs" / "one", project / "disk" / "deep" / "one"):
        assert texts(Run(path).load_rows()) == expected


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_text(path.read_text().replace("good", "evil")), "has changed"),
        (lambda path: path.write_text(path.read_text() + "more,positive\n"), "has changed"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    ],
)
def test_run_names_changed_files_in_one_line(project, monkeypatch, change, fault):
    run = start_run(THREE)
    change(project / "rows" / "test.csv")
    with pytest.raises(InputError, match=rf"^runs/one: its training rows are not found: rows/test\.csv {fault}$"):
        run.load_rows()
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match=r"not found: rows/test\.csv is missing and .*rows/test\.csv " + fault + "$"):
        Run(project / run.path).load_rows()


def test_run_loads_without_relative_names(project, monkeypatch):
    run = start_run(THREE)
    expected = texts(run.load_rows())
    old = {name: {k: v for k, v in s.items() if k not in ("relative", "bytes")} for name, s in run.splits.items()}
    (run.path / "splits.json").write_text(json.dumps(old))
    assert texts(Run(run.path).load_rows()) == expected
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match=r"not found: rows/train\.csv is missing$"):
        Run(project / run.path).load_rows()


def test_splits_record_paths_and_sizes(project):
    splits = start_run(THREE).splits
    for name, split in splits.items():
        path = project / "rows" / f"{name}.csv"
        assert (split["file"], split["relative"]) == (f"rows/{name}.csv", f"../../rows/{name}.csv")
        assert split["bytes"] == path.stat().st_size
    run = start_run(PATTERN, "runs/two")
    assert run.splits["test"]["relative"] == "../../rows/part-*.csv"
    assert len(run.splits["test"]["bytes"]) == len(run.splits["test"]["sha256"]) == 2
    assert yaml.safe_load((run.path / "recipe.yaml").read_text())["data"] == "rows/part-*.csv"


@pytest.fixture
def store(project, object_store):
    """An object store in memory that has the rows of the project."""
    for file in (project / "rows").iterdir():
        object_store.pipe(f"/rows/{file.name}", file.read_bytes())
    return object_store


@pytest.mark.parametrize(
    "settings",
    [
        {"data": "memory://rows/all.csv"},
        {"train": "memory://rows/train.csv", "test": "memory://rows/test.csv"},
        {"data": "memory://rows/part-*.csv"},
    ],
)
def test_run_finds_remote_rows_from_anywhere(store, project, monkeypatch, settings):
    run = start_run(settings)
    local = start_run({name: url.replace("memory://", "") for name, url in settings.items()}, "runs/local")
    expected = texts(local.load_rows())
    assert texts(run.load_rows()) == expected
    for name in run.splits:
        here, there = run.splits[name], local.splits[name]
        assert here["file"] == f"memory://{there['file']}"
        assert "relative" not in here
        assert here["sha256"] == there["sha256"]
        assert here["bytes"] == there["bytes"]
    assert run.settings.as_dict() | settings == run.settings.as_dict()
    shutil.move(project / "runs", project.parent / "runs")
    monkeypatch.chdir("/")
    assert texts(Run(project.parent / "runs" / "one").load_rows()) == expected


def test_run_names_changed_remote_files(store):
    run = start_run({"data": "memory://rows/all.csv"})
    content = store.cat("/rows/all.csv")
    store.pipe("/rows/all.csv", content.replace(b"good", b"evil"))
    with pytest.raises(InputError, match=r"^runs/one: .* not found: memory://rows/all\.csv has changed$"):
        run.load_rows()
    store.rm("/rows/all.csv")
    with pytest.raises(InputError, match=r"memory://rows/all\.csv cannot be read \(not found; check the address\)$"):
        run.load_rows()


@pytest.fixture
def folders(project):
    """The project with rows in folders of labels."""
    for number, (text, label) in enumerate(make_reviews(40, seed=0)):
        file = project / "texts" / label / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return project


def test_run_finds_folders_of_labels(folders, monkeypatch):
    run = start_run({"data": "texts"})
    expected = texts(run.load_rows())
    moved = folders.parent / "elsewhere" / "mo*ed"
    shutil.move(folders, moved)
    monkeypatch.chdir("/")
    assert texts(Run(moved / "runs" / "one").load_rows()) == expected
    # Other files are not read.
    (moved / "texts" / "note.md").write_text("a note")
    assert texts(Run(moved / "runs" / "one").load_rows()) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_text(file.read_text()[::-1]),
        lambda file: file.unlink(),
        lambda file: file.rename(file.with_name("x.txt")),
        lambda file: file.rename(file.parent.parent / "positive" / "x.txt"),
        lambda file: file.with_name("x.txt").write_text("more"),
    ],
    ids=["text", "missing", "name", "label", "more"],
)
def test_run_names_changed_folders(folders, change):
    run = start_run({"data": "texts"})
    change(next((folders / "texts" / "negative").iterdir()))
    with pytest.raises(InputError, match=r"^runs/one: its training rows are not found: texts has changed$"):
        run.load_rows()
