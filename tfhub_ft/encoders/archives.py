"""Unpack archives from untrusted sources."""

import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath
from typing import IO

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write

MAX_BYTES = 16 * 2**30
MAX_MEMBERS = 10_000
# The longest file name in bytes, and the number of folders that fit a path on any file system.
MAX_NAME, MAX_DEPTH = 255, 12
_CHUNK = 2**20
_MAX_TAR_HEADER = 16 * 2**20
# RecursionError: tarfile follows chains of extended headers recursively.
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
    RecursionError,
)


def unpack(archive: Path, out_dir: Path, *, max_bytes: int = MAX_BYTES, label: str | None = None) -> None:
    """Unpack a .tar.gz or .zip file into a new folder; on errors nothing is left.

    Only plain files and folders are unpacked, with default permissions. Links, devices, paths outside the folder,
    duplicate names and archives above the limits raise an InputError.
    """
    label = label or str(archive)
    with atomic_write(out_dir) as new_folder:
        new_folder.mkdir()
        writer = _Writer(new_folder, max_bytes, label)
        try:
            with open(archive, "rb") as file:
                start = file.read(64)
            if start.startswith(b"\x1f\x8b"):
                _unpack_tar(writer, archive)
            elif start.startswith(b"PK"):
                _unpack_zip(writer, archive)
            else:
                raise InputError(f"{label}: neither a .tar.gz nor a .zip archive (it starts with {start[:24]!r})")
        except _DAMAGED as error:
            raise InputError(f"{label}: the archive is damaged ({error or type(error).__name__})") from error


class _Writer:
    """Checks members, writes them into a folder, and counts them and their bytes."""

    def __init__(self, folder: Path, max_bytes: int, label: str) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.label = label
        self._members = 0
        self._bytes = 0

    def unsafe_member(self, name: str, fault: str) -> InputError:
        short_name = name if len(name) <= 80 else f"{name[:80]}..."
        return InputError(f"{self.label}: the archive is not safe to unpack: member {short_name!r} {fault}")

    def add_folder(self, name: str) -> None:
        path = self._target(name)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise self.unsafe_member(name, "has the path of another member, which is a file") from None

    def add_file(self, name: str, content: IO[bytes]) -> None:
        path = self._target(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as file:
                while chunk := content.read(_CHUNK):
                    self._bytes += len(chunk)
                    if self._bytes > self.max_bytes:
                        raise InputError(
                            f"{self.label}: the archive is not safe to unpack: more than {self.max_bytes:,} bytes"
                            " unpacked"
                        )
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError):
            raise self.unsafe_member(name, "would overwrite another member") from None

    def _target(self, name: str) -> Path:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise InputError(f"{self.label}: the archive is not safe to unpack: more than {MAX_MEMBERS:,} members")
        # Windows paths have both separators and drives: what is safe there is safe everywhere.
        path = PureWindowsPath(name)
        if path.anchor or "\\" in name or "\0" in name:
            raise self.unsafe_member(name, "has an absolute path, a backslash or a null character")
        if len(path.parts) > MAX_DEPTH or any(len(os.fsencode(part)) > MAX_NAME for part in path.parts):
            raise self.unsafe_member(name, f"has a name longer than {MAX_NAME} bytes, or more than {MAX_DEPTH} folders")
        if ".." in path.parts:
            raise self.unsafe_member(name, "leads out of the folder ('..')")
        return self.folder.joinpath(*path.parts)


class _BoundedGzipFile(gzip.GzipFile):
    """A gzip file without huge reads: tarfile reads extended headers of any claimed size into memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size and size > _MAX_TAR_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return super().read(size)


def _unpack_tar(writer: _Writer, archive: Path) -> None:
    with _BoundedGzipFile(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                _add_tar_member(writer, tar, member)
        # gzip verifies its checksum after the last byte, which tarfile does not read.
        padding = 0
        while chunk := stream.read(_CHUNK):
            padding += len(chunk)
            if padding > writer.max_bytes:
                raise tarfile.ReadError("too much data after the end of the archive")


def _add_tar_member(writer: _Writer, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if member.isdir():
        writer.add_folder(member.name)
    elif member.isreg() and not member.issparse() and (content := tar.extractfile(member)):
        writer.add_file(member.name, content)
    else:
        kind = "a link" if member.issym() or member.islnk() else "neither a plain file nor a folder"
        raise writer.unsafe_member(member.name, f"is {kind}")


def _unpack_zip(writer: _Writer, archive: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind == stat.S_IFLNK:
                raise writer.unsafe_member(member.filename, "is a link")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise writer.unsafe_member(member.filename, "is neither a plain file nor a folder")
            if member.flag_bits & 1:
                raise InputError(f"{writer.label}: the archive is encrypted; unpack it yourself and pass its folder")
            if member.is_dir():
                writer.add_folder(member.filename)
            else:
                with zipped.open(member) as content:
                    writer.add_file(member.filename, content)
