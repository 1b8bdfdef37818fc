import errno
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import (
    atomic_write,
    check_room,
    contents,
    folder_bytes,
    sha256_of,
    temporary_folder,
    undone_on_failure,
    write_json,
)


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    with pytest.raises(RuntimeError), atomic_write(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text(encoding="utf-8").startswith("{")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "folder") as aside:
        (aside / "deep").mkdir(parents=True)
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with atomic_write(tmp_path / "folder") as aside:
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
        pytest.raises(RunError, match="model.bin was not written: the disk is full; make room"),
        atomic_write(path) as aside,
    ):
        aside.write_text("half")
        raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EFBIG, "x"), "model.bin was not written: it would become larger .* raise the limit"),
        (OSError("Unable to write (errno = 27, error message = 'File too large')"), "model.bin was not written: it"),
        (OSError(errno.EROFS, "x"), "model.bin was not written: the file system is read-only; choose another place"),
        (PermissionError(errno.EACCES, "x"), "model.bin: permission denied; change its permissions, or choose"),
    ],
)
def test_a_file_that_cannot_be_written_says_what_to_do(tmp_path, error, message):
    with pytest.raises(RunError, match=message), atomic_write(tmp_path / "deep" / "model.bin"):
        raise error
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path, read_only):
    read_only(tmp_path)
    with pytest.raises(RunError, match="deep/model.bin was not written: the file system is read-only"):
        write_json(tmp_path / "deep" / "model.bin", 1)


def test_other_errors_and_those_worded_already_stay(tmp_path):
    for error in (InputError("x: Permission denied; y"), ValueError("x"), FileNotFoundError(errno.ENOENT, "x")):
        with pytest.raises(type(error), match="x"), atomic_write(tmp_path / "model.bin"):
            raise error


def test_room_is_checked_before_a_file_is_written(tmp_path):
    with atomic_write(tmp_path / "small.bin") as aside:
        check_room(aside, 10)
        aside.write_bytes(b"0123456789")
    with (
        pytest.raises(RunError, match="large.bin was not written: the disk is full"),
        atomic_write(tmp_path / "large.bin") as aside,
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


def killed(program, folder):
    """A process that has started `program` in a folder, waits, and is killed at the end of the test."""
    program = f"import sys\nfrom tfhub_ft.utils.files import *\n{program}\n    print(flush=True)\n    sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    return process


WRITES = "with atomic_write('model.bin') as aside:\n    aside.write_bytes(b'half')"


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path):
    process = killed(WRITES, tmp_path)
    left = set(tmp_path.iterdir())
    write_json(tmp_path / "other.json", 1)
    assert left < set(tmp_path.iterdir())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    write_json(tmp_path / "other.json", 2)
    assert list(tmp_path.iterdir()) == [tmp_path / "other.json"]


def test_folders_like_those_of_a_killed_process_stay(tmp_path):
    (tmp_path / ".tfhub_ft-mine").mkdir()
    (tmp_path / ".tfhub_ft-mine" / "file").write_text("x")
    (tmp_path / ".tfhub_ft-link").symlink_to(tmp_path / ".tfhub_ft-mine")
    before = sorted(tmp_path.rglob("*"))
    write_json(tmp_path / "other.json", 1)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "other.json"])


def test_temporary_folders_of_killed_processes_are_removed(tmp_path, monkeypatch):
    process = killed("with temporary_folder() as folder:\n    Path(folder, 'big').write_bytes(b'x')", tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder():
        assert left.is_dir()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = killed("with temporary_folder() as folder:", tmp_path)
    assert not left.exists()
    again.communicate(b"")
    assert again.returncode == 0


def test_a_file_is_on_the_disk_before_it_replaces_another(tmp_path, monkeypatch):
    calls = []
    names = lambda number: Path(os.readlink(f"/proc/self/fd/{number}")).name  # noqa: E731
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (calls.append(names(number)), sync(number)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    write_json(tmp_path / "state.json", {})
    assert calls == ["state.json", "replace", tmp_path.name]
    calls.clear()
    with atomic_write(tmp_path / "1") as aside:
        aside.mkdir()
        (aside / "variables").mkdir()
        (aside / "variables" / "data").write_bytes(b"x")
    assert calls == ["data", "variables", "1", "replace", tmp_path.name]


def test_a_process_leaves_no_temporary_folder(tmp_path):
    process = killed("with temporary_folder() as folder:", tmp_path)
    process.communicate(b"")
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())
