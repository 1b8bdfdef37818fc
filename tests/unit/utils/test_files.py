import errno
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import (
    atomic_write,
    check_disk_space,
    contents,
    copy_folder,
    folder_bytes,
    matching_files,
    rollback_on_error,
    sha256_of,
    sha256_of_arrays,
    temporary_folder,
    write_json,
)


def test_atomic_write_replaces_file_on_success_only(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 1\n}\n'
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text(encoding="utf-8").startswith("{")
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_creates_folder_on_success_only(tmp_path):
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "folder") as temporary:
        (temporary / "deep").mkdir(parents=True)
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with atomic_write(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "file").write_bytes(b"abc")
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
def test_atomic_write_reports_full_disk_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "deep" / "model.bin"
    with (
        pytest.raises(RunError, match="model.bin: the disk is full; free some space"),
        atomic_write(path) as temporary,
    ):
        temporary.write_text("half")
        raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EFBIG, "x"), "model.bin: larger than the file size limit .*; raise the limit"),
        (OSError("Unable to write (errno = 27, error message = 'File too large')"), "model.bin: larger than"),
        (OSError(errno.EROFS, "x"), "model.bin: the file system is read-only; choose another place"),
        (PermissionError(errno.EACCES, "x"), "model.bin: permission denied; change its permissions, or choose"),
    ],
)
def test_atomic_write_error_says_what_to_do(tmp_path, error, message):
    with pytest.raises(RunError, match=message), atomic_write(tmp_path / "deep" / "model.bin"):
        raise error
    assert not list(tmp_path.iterdir())


def test_write_json_reports_read_only_file_system(tmp_path, read_only):
    read_only(tmp_path)
    with pytest.raises(RunError, match="deep/model.bin: the file system is read-only"):
        write_json(tmp_path / "deep" / "model.bin", 1)


def test_atomic_write_passes_other_errors_through(tmp_path):
    for error in (InputError("x: Permission denied; y"), ValueError("x"), FileNotFoundError(errno.ENOENT, "x")):
        with pytest.raises(type(error), match="x"), atomic_write(tmp_path / "model.bin"):
            raise error


def test_check_disk_space_raises_full_disk_error(tmp_path):
    with atomic_write(tmp_path / "small.bin") as temporary:
        check_disk_space(temporary, 10)
        temporary.write_bytes(b"0123456789")
    with (
        pytest.raises(RunError, match="large.bin: the disk is full"),
        atomic_write(tmp_path / "large.bin") as temporary,
    ):
        check_disk_space(temporary, 2**60)


def test_contents_skips_hidden_files(tmp_path):
    for name in (".DS_Store", "._b.txt", "Thumbs.db", "Desktop.ini", ".git", "b.txt", "a"):
        (tmp_path / name).mkdir()
    assert contents(tmp_path) == ["a", "b.txt"]
    assert contents(tmp_path / "none") == []


@pytest.mark.parametrize("exists", [True, False])
def test_rollback_on_error_restores_folder(tmp_path, exists):
    folder = tmp_path / "runs" / "one"
    if exists:
        folder.mkdir(parents=True)
        (folder / ".git").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KeyboardInterrupt), rollback_on_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pair").mkdir()
        (folder / "file").write_text("x")
        raise KeyboardInterrupt
    assert sorted(tmp_path.rglob("*")) == before
    with rollback_on_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    assert folder.is_dir()


def waiting_process(program, folder):
    """Start a process that runs `program` in a folder and then waits."""
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


WRITES = "with atomic_write('model.bin') as temporary:\n    temporary.write_bytes(b'half')"


def test_atomic_write_removes_scratch_of_killed_process(tmp_path):
    process = waiting_process(WRITES, tmp_path)
    remaining = set(tmp_path.iterdir())
    write_json(tmp_path / "other.json", 1)
    assert remaining < set(tmp_path.iterdir())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    write_json(tmp_path / "other.json", 2)
    assert list(tmp_path.iterdir()) == [tmp_path / "other.json"]


def test_atomic_write_keeps_foreign_folders(tmp_path):
    (tmp_path / ".tfhub_ft-mine").mkdir()
    (tmp_path / ".tfhub_ft-mine" / "file").write_text("x")
    (tmp_path / ".tfhub_ft-link").symlink_to(tmp_path / ".tfhub_ft-mine")
    before = sorted(tmp_path.rglob("*"))
    write_json(tmp_path / "other.json", 1)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "other.json"])


def test_temporary_folder_removes_those_of_killed_processes(tmp_path, monkeypatch):
    process = waiting_process("with temporary_folder() as folder:\n    Path(folder, 'big').write_bytes(b'x')", tmp_path)
    (remaining,) = tmp_path.iterdir()
    assert remaining.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder():
        assert remaining.is_dir()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    second = waiting_process("with temporary_folder() as folder:", tmp_path)
    assert not remaining.exists()
    second.communicate(b"")
    assert second.returncode == 0


def test_atomic_write_syncs_before_it_replaces(tmp_path, monkeypatch):
    calls = []
    names = lambda number: Path(os.readlink(f"/proc/self/fd/{number}")).name  # noqa: E731
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (calls.append(names(number)), sync(number)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    write_json(tmp_path / "state.json", {})
    assert calls == ["state.json", "replace", tmp_path.name]
    calls.clear()
    with atomic_write(tmp_path / "1") as temporary:
        temporary.mkdir()
        (temporary / "variables").mkdir()
        (temporary / "variables" / "data").write_bytes(b"x")
    assert calls == ["data", "variables", "1", "replace", tmp_path.name]


def test_temporary_folder_is_removed_at_exit(tmp_path):
    process = waiting_process("with temporary_folder() as folder:", tmp_path)
    process.communicate(b"")
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_matching_files_expands_patterns_only(tmp_path):
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).touch()
    assert matching_files(tmp_path / "*.csv") == [tmp_path / "a.csv", tmp_path / "b.csv"]
    assert matching_files(tmp_path / "none.csv") == [tmp_path / "none.csv"]
    (tmp_path / "[1].csv").touch()
    assert matching_files(tmp_path / "[1].csv") == [tmp_path / "[1].csv"]
    with pytest.raises(InputError, match=r"\*\.jsonl: no file matches the pattern"):
        matching_files(tmp_path / "*.jsonl")


def test_copy_folder_skips_hidden_and_excluded_names(tmp_path):
    for name in ("deep/a", ".hidden", "checkpoints/b", "c"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(name)
    copy_folder(tmp_path / "source", tmp_path / "target", leave_out=["checkpoints"])
    copies = [path.relative_to(tmp_path / "target").as_posix() for path in (tmp_path / "target").rglob("*")]
    assert sorted(copies) == ["c", "deep", "deep/a"]


def test_sha256_of_arrays_depends_on_values():
    tensorflow = pytest.importorskip("tensorflow")
    values = np.arange(6, dtype="float32").reshape(2, 3)
    assert sha256_of_arrays([values]) == hashlib.sha256(values.tobytes()).hexdigest()
    assert sha256_of_arrays([values.T]) != sha256_of_arrays([values])
    half = tensorflow.cast(values, tensorflow.bfloat16).numpy()
    assert sha256_of_arrays([half]) == hashlib.sha256(half.tobytes()).hexdigest()
