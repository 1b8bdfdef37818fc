"""Files on object stores and web servers: names, copies on this machine and uploads, by fsspec."""

import contextlib
import glob
import os
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfhub_ft.utils.console import progress
from tfhub_ft.utils.errors import InputError, kind_and_first_line

_PROTOCOL = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9+.-]+):(?=[/:])")
# A path has a single slash after the protocol.
_SINGLE_SLASH = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]+):/(?=[^/])")
_WEB = ("http", "https")
# Seconds to connect, and between two parts of a response.
_CONNECT_S, _READ_S = 30, 60
# Parts of the names of facts that change with the content of a file.
_VALIDATORS = ("etag", "md5", "crc", "digest", "generation", "mtime", "created", "blob_id")
_CREDENTIALS = ("credential", "forbidden", "unauthorized", "access denied", "anonymous caller", "refresherror")
# What a remote file is like, for a comparison; None if only reading it would tell.
State = tuple[tuple[str, str], ...] | None


class RemotePath(type(Path())):
    """A URL with the interface of a path; it is opened as its copy on this machine.

    Args:
        path: The URL without a query, as a path.

    Attributes:
        url: The URL.
        copy: The path of the copy; "" before it is made.
    """

    url = copy = ""

    def __str__(self) -> str:
        return self.url or _SINGLE_SLASH.sub(r"\1://", super().__str__())

    def __fspath__(self) -> str:
        return self.copy or super().__str__()

    def resolve(self, strict: bool = False) -> "RemotePath":
        """Return the same path: URLs lack links."""
        return self


def is_remote(name: str | os.PathLike) -> bool:
    """Return whether a name is a URL such as s3://bucket/rows.csv, also as a path, which has one slash less."""
    return isinstance(name, RemotePath) or bool(_PROTOCOL.match(str(name)))


def as_path(name: str | os.PathLike, copy: str = "") -> Path:
    """Return a path for a name; for a URL, one that prints as the URL and is opened as its copy."""
    if not is_remote(name):
        return Path(name)
    url = name.url or str(name) if isinstance(name, RemotePath) else _SINGLE_SLASH.sub(r"\1://", str(name))
    path = RemotePath(url.partition("?")[0] if _protocol(url) in _WEB else url)
    path.url, path.copy = url, copy
    return path


def _protocol(url: str) -> str:
    match = _PROTOCOL.match(url)
    return match["name"].lower() if match else ""


def is_remote_pattern(url: str) -> bool:
    """Return whether a URL is a pattern such as s3://bucket/part-*.csv; web servers cannot list files."""
    return glob.has_magic(url) and _protocol(url) not in _WEB


def matching_urls(url: str) -> list[str]:
    """Return the URLs of the files that match a pattern, sorted; any other URL as it is."""
    if not is_remote_pattern(url):
        return [url]
    with _errors(url, "read"):
        system, path = _connect(url)
        found = system.glob(path, detail=True)
        urls = sorted(str(system.unstrip_protocol(name)) for name, info in found.items() if info["type"] == "file")
    if not urls:
        raise InputError(f"{url}: no file matches the pattern")
    return urls


def state_of(url: str) -> State:
    """Return the state of a remote file.

    Raises:
        InputError: It is not found or is a folder, or access is denied.
    """
    with _errors(url, "read"):
        system, path = _connect(url)
        info = system.info(path)
    if info.get("type") == "directory":
        pattern = f"{url.rstrip('/')}/*.parquet"
        raise InputError(f"{url}: is a folder; pass a file in it, or several by a pattern such as '{pattern}'")
    facts = {key: str(value) for key, value in info.items() if any(part in key.lower() for part in _VALIDATORS)}
    return (*sorted(facts.items()), ("size", str(info.get("size")))) if any(facts.values()) else None


def download(url: str, folder: Path) -> Path:
    """Copy a remote file into a folder; return the path of the copy, which has its suffix."""
    with _errors(url, "read"):
        system, path = _connect(url)
        size = system.info(path).get("size")
        name = urllib.parse.unquote(urllib.parse.urlsplit(path).path) if _protocol(url) in _WEB else path
        target = folder / (re.sub(r"[^\w.+-]", "_", name.rstrip("/").rpartition("/")[2])[-100:] or "file")
        with progress(f"Downloading {url}", size, "bytes") as advance:
            system.get_file(path, str(target), callback=_callback(advance))
    return target


def list_files(url: str) -> list[str]:
    """Return the paths of the files in a remote folder, relative to it; none if it does not exist.

    Raises:
        InputError: It is a file or cannot be written to, or access is denied.
    """
    if _protocol(url) in _WEB:
        raise InputError(
            f"{url}: web servers are read only; pass a folder of an object store, such as s3://bucket/name"
        )
    with _errors(url, "read"):
        system, path = _connect(url)
        if system.isfile(path):
            raise InputError(f"{url}: is a file; pass a folder")
        try:
            return sorted(os.path.relpath(name, path) for name in system.find(path))
        except FileNotFoundError:
            return []


def fetch(url: str, name: str, folder: Path) -> None:
    """Copy a file of a remote folder into a local one."""
    with _errors(f"{url}/{name}", "read"):
        system, path = _connect(url)
        system.get_file(f"{path}/{name}", str(folder / name))


def upload(folder: Path, names: Sequence[str], url: str) -> None:
    """Copy files of a folder, in this order, into a remote one; the copies are removed if an error is raised."""
    with _errors(url, "written"):
        system, path = _connect(url)
        uploaded = []
        try:
            with progress(f"Uploading to {url}", len(names), "files") as advance:
                for name in names:
                    target = f"{path.rstrip('/')}/{name}"
                    # Object stores ignore this.
                    system.makedirs(target.rpartition("/")[0], exist_ok=True)
                    uploaded.append(target)
                    system.put_file(str(folder / name), target)
                    advance(1)
        except BaseException:
            for target in uploaded:
                with contextlib.suppress(Exception):
                    system.rm_file(target)
            raise


def _callback(advance: Any) -> Any:
    from fsspec.callbacks import Callback

    class Advance(Callback):
        """Shows the progress of a transfer."""

        def relative_update(self, inc: int = 1) -> None:
            advance(inc)

    return Advance()


def _connect(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    import fsspec

    options: dict[str, Any] = {}
    if _protocol(url) in _WEB:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S)
        # Signatures in a URL depend on its encoding.
        options = {"client_kwargs": {"timeout": timeout, "trust_env": True}, "encoded": "%" in url}
    system, path = fsspec.url_to_fs(url, **options)
    system.invalidate_cache()
    return system, path


@contextlib.contextmanager
def _errors(url: str, verb: str) -> Iterator[None]:
    """Turn the errors of file systems within this context into one that says what to do."""
    try:
        yield
    except InputError:
        raise
    # Each file system has errors of its own.
    except Exception as error:
        if isinstance(error, OSError) and error.filename and os.path.isabs(error.filename):
            # The copy cannot be written.
            raise
        raise InputError(f"{url}: {_fault(error, _protocol(url), verb)}") from error


def _fault(error: BaseException, protocol: str, verb: str) -> str:
    """Return what is wrong and what to do about an error of a file system."""
    if isinstance(error, ImportError) and (package := _package(protocol)):
        return f"needs {package}, which is not installed; pip install {package}"
    if isinstance(error, FileNotFoundError) and error.__cause__:
        # The error of a web server, which may be another one.
        error = error.__cause__
    fault = kind_and_first_line(error)
    code = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(error, FileNotFoundError) or code == 404:
        return "not found; check the address"
    if "Protocol not known" in fault:
        return f"{protocol}:// is not known; use a protocol of fsspec, such as s3://, gs://, az://, hf:// and https://"
    if "Timeout" in fault:
        return "no response in time; check the network, and try again"
    if isinstance(error, PermissionError) or code in (401, 403) or any(each in fault.lower() for each in _CREDENTIALS):
        return f"no access ({fault}); check the credentials for {protocol}://"
    return f"cannot be {verb} ({fault}); check the address and the network"


def _package(protocol: str) -> str | None:
    """Return the package that a protocol needs; None if fsspec has it."""
    from fsspec.registry import known_implementations

    module = known_implementations.get(protocol, {}).get("class", "").partition(".")[0]
    return None if module in ("", "fsspec") else module
