"""Archives unpacked without trusting them: nothing leaves the target folder, nothing is a link, sizes are bounded."""

import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write

MAX_BYTES = 16 * 2**30
MAX_MEMBERS = 10_000
# What file systems take as the name of a file, and the depth that a path on any of them leaves room for.
MAX_NAME, MAX_DEPTH = 255, 12
_CHUNK = 2**20
_MAX_TAR_HEADER = 16 * 2**20
# RecursionError: tarfile follows a chain of extended headers by recursion.
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
    """Unpack a .tar.gz or .zip file, which is told by its content; the folder is whole afterwards or not there.

    Only plain files and folders are taken, with the permissions of new files. Names that lead out of the folder, links,
    devices, two members of one name, more than 10,000 members and more than `max_bytes` in all are refused.

    Args:
        archive: the file.
        out_dir: the folder to make; it must not exist or be empty.
        max_bytes: the most that may be unpacked, counted while writing.
        label: what errors call the archive, if not its path.

    Raises:
        InputError: the file is no such archive, is damaged, or holds something that is refused.

    Example:
        unpack(Path("encoder.tar.gz"), Path("encoder"))
    """
    label = label or str(archive)
    with atomic_write(out_dir) as aside:
        aside.mkdir()
        writer = _Writer(aside, max_bytes, label)
        try:
            _unpack_into(writer, archive)
        except _DAMAGED as error:
            raise InputError(f"{label}: the archive is damaged ({error or type(error).__name__})") from error


def _unpack_into(writer: "_Writer", archive: Path) -> None:
    with open(archive, "rb") as file:
        start = file.read(64)
    if start.startswith(b"\x1f\x8b"):
        _unpack_tar(writer, archive)
    elif start.startswith(b"PK"):
        _unpack_zip(writer, archive)
    else:
        raise InputError(f"{writer.label}: neither a .tar.gz nor a .zip archive (it begins with {start[:24]!r})")


class _Writer:
    """Writes members under a folder, after a look at each, and counts them and their bytes."""

    def __init__(self, folder: Path, max_bytes: int, label: str) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.label = label
        self._members = 0
        self._bytes = 0

    def refuse(self, name: str, why: str) -> InputError:
        shown = name if len(name) <= 80 else f"{name[:80]}..."
        return InputError(f"{self.label}: the archive is not safe to unpack: member {shown!r} {why}")

    def add_folder(self, name: str) -> None:
        path = self._place(name)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise self.refuse(name, "stands where another member is a file") from None

    def add_file(self, name: str, content: BinaryIO) -> None:
        path = self._place(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as file:
                while chunk := content.read(_CHUNK):
                    self._count(len(chunk))
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError):
            raise self.refuse(name, "would overwrite another member") from None

    def _place(self, name: str) -> Path:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise InputError(f"{self.label}: the archive is not safe to unpack: more than {MAX_MEMBERS:,} members")
        # Windows' rules know both separators, and drives: what passes them is harmless everywhere.
        path = PureWindowsPath(name)
        if path.anchor or "\\" in name or "\0" in name:
            raise self.refuse(name, "has an absolute path, or one with a backslash or a null")
        if len(path.parts) > MAX_DEPTH or any(len(os.fsencode(part)) > MAX_NAME for part in path.parts):
            raise self.refuse(name, f"has a name longer than {MAX_NAME} bytes, or more than {MAX_DEPTH} folders")
        if ".." in path.parts:
            raise self.refuse(name, "leads out of the folder ('..')")
        return self.folder.joinpath(*path.parts)

    def _count(self, amount: int) -> None:
        self._bytes += amount
        if self._bytes > self.max_bytes:
            raise InputError(
                f"{self.label}: the archive is not safe to unpack: more than {self.max_bytes:,} bytes unpacked"
            )


class _BoundedReads:
    """A stream without big reads: tarfile takes a whole extended header, of whatever size it claims, into memory."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if size > _MAX_TAR_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)


def _unpack_tar(writer: _Writer, archive: Path) -> None:
    with gzip.open(archive) as stream:
        with tarfile.open(fileobj=_BoundedReads(stream), mode="r:") as tar:
            for member in tar:
                _add_tar_member(writer, tar, member)
        _read_to_the_end(stream, writer.max_bytes)


def _add_tar_member(writer: _Writer, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if member.isdir():
        writer.add_folder(member.name)
    elif member.isreg() and not member.issparse():
        writer.add_file(member.name, tar.extractfile(member))
    else:
        kind = "a link" if member.issym() or member.islnk() else "neither a plain file nor a folder"
        raise writer.refuse(member.name, f"is {kind}")


def _read_to_the_end(stream: gzip.GzipFile, max_bytes: int) -> None:
    # gzip compares its checksum only behind the last byte, which tarfile does not read.
    rest = 0
    while chunk := stream.read(_CHUNK):
        rest += len(chunk)
        if rest > max_bytes:
            raise tarfile.ReadError("too much stands behind its end")


def _unpack_zip(writer: _Writer, archive: Path) -> None:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            _check_zip_member(writer, member)
            if member.is_dir():
                writer.add_folder(member.filename)
            else:
                with zipped.open(member) as content:
                    writer.add_file(member.filename, content)


def _check_zip_member(writer: _Writer, member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise writer.refuse(member.filename, "is a link")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise writer.refuse(member.filename, "is neither a plain file nor a folder")
    if member.flag_bits & 1:
        raise InputError(f"{writer.label}: the archive is encrypted; unpack it yourself and give its folder")
