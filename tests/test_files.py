import errno
import hashlib

import pytest

from tfhub_ft.errors import WorkError
from tfhub_ft.files import (
    check_room,
    contents,
    folder_bytes,
    sha256_of,
    undone_on_failure,
    write_json,
    written_aside,
)


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text(encoding="utf-8").startswith("{")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), written_aside(tmp_path / "folder") as aside:
        (aside / "deep").mkdir(parents=True)
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with written_aside(tmp_path / "folder") as aside:
        aside.mkdir()
        (aside / "file").write_bytes(b"abc")
    assert folder_bytes(tmp_path / "folder") == 3
    assert sha256_of(tmp_path / "folder" / "file") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left"),
        OSError(errno.EDQUOT, "x"),
        RuntimeError("[Op] No space left on device; x"),
    ],
)
def test_a_full_disk_is_said_with_the_file_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "deep" / "model.bin"
    with (
        pytest.raises(WorkError, match="model.bin was not written: the disk is full; make room"),
        written_aside(path) as aside,
    ):
        aside.write_text("half")
        raise error
    assert not list(tmp_path.iterdir())


def test_room_is_checked_before_a_file_is_written(tmp_path):
    with written_aside(tmp_path / "small.bin") as aside:
        check_room(aside, 10)
        aside.write_bytes(b"0123456789")
    with (
        pytest.raises(WorkError, match="large.bin was not written: the disk is full"),
        written_aside(tmp_path / "large.bin") as aside,
    ):
        check_room(aside, 2**60)


def test_contents_leaves_out_what_file_managers_leave(tmp_path):
    for name in (".DS_Store", "._b.txt", "Thumbs.db", "Desktop.ini", ".git", "b.txt", "a"):
        (tmp_path / name).mkdir()
    assert contents(tmp_path) == ["a", "b.txt"]
    assert contents(tmp_path / "none") == []


@pytest.mark.parametrize("exists", [True, False])
def test_undone_on_failure_leaves_a_folder_as_it_was(tmp_path, exists):
    folder = tmp_path / "runs" / "one"
    if exists:
        folder.mkdir(parents=True)
        (folder / ".git").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KeyboardInterrupt), undone_on_failure(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pair").mkdir()
        (folder / "file").write_text("x")
        raise KeyboardInterrupt
    assert sorted(tmp_path.rglob("*")) == before
    with undone_on_failure(folder):
        folder.mkdir(parents=True, exist_ok=True)
    assert folder.is_dir()
