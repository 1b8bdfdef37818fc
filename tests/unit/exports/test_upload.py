"""Uploads of exports to object stores."""

import json
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tfhub_ft.exports.upload import export_and_upload
from tfhub_ft.utils.errors import InputError, RunError

URL = "memory://models/reviews"


def write_version(folder):
    """Write the files of an export into the next version of a folder."""
    number = 1 + max((int(each.name) for each in folder.glob("[0-9]*")), default=0)
    version = folder / str(number)
    (version / "variables").mkdir(parents=True)
    for name in ("saved_model.pb", "variables/variables.index", "fingerprint.pb"):
        (version / name).write_text(f"{name} {number}")
    exports = json.loads((folder / "export.json").read_text()) if (folder / "export.json").exists() else []
    (folder / "export.json").write_text(json.dumps([*exports, number]))
    (folder / "README.md").write_text(f"{number} versions")
    if not (folder / "models.config").exists():
        (folder / "models.config").write_text("written once")


@pytest.fixture
def uploaded(monkeypatch):
    """The paths of uploaded files, in order."""
    paths, put_file = [], MemoryFileSystem.put_file

    def record(self, lpath, rpath, **options):
        paths.append(rpath)
        put_file(self, lpath, rpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", record)
    return paths


def test_upload_continues_the_versions_of_the_store(object_store, uploaded):
    export_and_upload(URL, write_version)
    assert uploaded == [
        "/models/reviews/1/fingerprint.pb",
        "/models/reviews/1/variables/variables.index",
        "/models/reviews/README.md",
        "/models/reviews/models.config",
        "/models/reviews/1/saved_model.pb",
        "/models/reviews/export.json",
    ]
    object_store.pipe("/models/reviews/models.config", b"edited")
    uploaded.clear()
    export_and_upload(f"{URL}/", write_version)
    assert uploaded[-2:] == ["/models/reviews/2/saved_model.pb", "/models/reviews/export.json"]
    assert "/models/reviews/models.config" not in uploaded
    assert object_store.cat("/models/reviews/1/saved_model.pb") == b"saved_model.pb 1"
    assert object_store.cat("/models/reviews/export.json") == b"[1, 2]"
    assert object_store.cat("/models/reviews/models.config") == b"edited"


@pytest.mark.parametrize("failing", ["1/variables/variables.index", "1/saved_model.pb", "export.json"])
def test_upload_that_fails_keeps_the_export_and_removes_its_parts(object_store, monkeypatch, failing):
    put_file = MemoryFileSystem.put_file

    def fail(self, lpath, rpath, **options):
        if rpath.endswith(failing):
            raise OSError("connection reset")
        put_file(self, lpath, rpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", fail)
    with pytest.raises(
        RunError, match=rf"^{URL}: cannot be written \(OSError: connection reset\); .* copy it"
    ) as caught:
        export_and_upload(URL, write_version)
    assert object_store.find("/models/reviews") == []
    kept = Path(str(caught.value).partition("is in ")[2].partition(": copy")[0])
    assert json.loads((kept / "export.json").read_text()) == [1]
    assert (kept / "1" / "saved_model.pb").is_file()


def test_upload_reports_an_export_that_was_faster(object_store):
    def write(folder):
        write_version(folder)
        object_store.pipe("/models/reviews/1/fingerprint.pb", b"of another export")

    with pytest.raises(
        RunError, match=f"^{URL}: another export has written 1/fingerprint.pb; the verified export is in"
    ):
        export_and_upload(URL, write)
    assert object_store.cat("/models/reviews/1/fingerprint.pb") == b"of another export"


def test_upload_of_kept_artifacts_is_followed_by_the_fault(object_store):
    def write(folder):
        write_version(folder)
        raise RunError(f"{folder}/tflite/a.tflite was not kept")

    with pytest.raises(RunError, match=f"^{URL}/tflite/a.tflite was not kept"):
        export_and_upload(URL, write)
    assert object_store.exists("/models/reviews/export.json")


def test_upload_of_nothing_leaves_the_store_unchanged(object_store, uploaded):
    def write(folder):
        (folder / "models.config").write_text("text")
        raise RunError("no artifact was kept")

    with pytest.raises(RunError, match="^no artifact was kept"):
        export_and_upload(URL, write)
    assert not uploaded


def test_upload_names_the_store_in_errors(object_store):
    object_store.pipe("/models/reviews/notes.txt", b"a")

    def write(folder):
        names = [each.name for each in folder.iterdir()]
        raise InputError(f"--output-dir {folder}: has {names}")

    with pytest.raises(InputError, match=rf"^--output-dir {URL}: has \['notes.txt'\]$"):
        export_and_upload(URL, write)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (
            "https://host/models",
            "web servers are read only; pass a folder of an object store, such as s3://bucket/name",
        ),
        ("memory://models/file", "is a file; pass a folder"),
        ("s4://models/file", "s4:// is not known"),
    ],
)
def test_upload_refuses_other_urls_before_the_export(object_store, url, fault):
    object_store.pipe("/models/file", b"a")
    with pytest.raises(InputError, match=f"^--output-dir {url}: {fault}"):
        export_and_upload(url, lambda folder: pytest.fail("exported"))
