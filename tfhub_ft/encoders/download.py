"""Download SavedModel archives into the cache."""

import hashlib
import ipaddress
import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfhub_ft.encoders.archives import unpack
from tfhub_ft.encoders.catalog import find_handle, is_preprocessor
from tfhub_ft.utils.cache import cache_dir, read_entry, store_in_cache
from tfhub_ft.utils.console import command_line, progress
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of
from tfhub_ft.utils.trust import TRUST_VARIABLE, trusts_all
from tfhub_ft.utils.version import __version__

MIRROR_VARIABLE = "TFHUB_FT_MIRROR"
SAVED_MODEL = "saved_model.pb"

_TFHUB = "https://tfhub.dev"
_KAGGLE = "https://www.kaggle.com"
_KAGGLE_PATH = re.compile(
    r"/models/(?P<owner>[^/]+)/(?P<model>[^/]+)/(?:frameworks/)?(?P<framework>[^/]+)"
    r"/(?:variations/)?(?P<variation>[^/]+)/(?:versions/)?(?P<version>\d+)"
)
_TIMEOUT_S = 30
_CHUNK = 2**20


class CacheEntry:
    """Something that is downloaded into a folder of the cache."""

    folder: Path

    def cached(self) -> bool:
        return _entry_of(self.folder) is not None

    def get(self) -> Path:
        """Return the folder, and fill it first where it is missing or damaged."""
        if not self.cached():
            store_in_cache(self.folder, self.make, _entry_of)
        return self.folder

    def make(self, folder: Path) -> dict[str, str]:
        """Fill a new folder; return what entry.json says about it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Archive(CacheEntry):
    """A SavedModel archive at an address.

    Attributes:
        handle: its name, whatever server it comes from.
        url: where it is downloaded from.
        sha256: of the archive, where it is pinned.
        pull: the arguments of `tfhub-ft encoders pull` that download it.
        is_catalogued: whether the catalog has it.
    """

    handle: str
    url: str
    sha256: str | None
    pull: tuple[str, ...]
    is_catalogued: bool

    @property
    def folder(self) -> Path:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", urllib.parse.urlsplit(self.handle).path).strip("._")[-80:]
        return cache_dir() / f"{slug}-{hashlib.sha256(self.handle.encode()).hexdigest()[:12]}"

    def get(self) -> Path:
        folder = super().get()
        kept = (_entry_of(folder) or {}).get("sha256")
        if self.sha256 and kept != self.sha256:
            raise InputError(
                f"{self.handle}: the cache has it with the sha256 {kept}, not {self.sha256} as pinned; remove"
                f" {folder} to download it again"
            )
        return folder

    def make(self, folder: Path) -> dict[str, str]:
        if not self.is_catalogued and not trusts_all():
            raise InputError(
                f"{self.handle} is not in the catalogue, and a SavedModel is a program that may do all that you may:"
                f" pass --trust (in Python set {TRUST_VARIABLE}=1) if you trust its maker"
            )
        self._check_encrypted(self.url)
        archive = folder.with_name("archive")
        with self._open() as response:
            self._save(response, archive)
        digest = sha256_of(archive)
        if self.sha256 and digest != self.sha256:
            raise InputError(f"{self.handle}: the download has the sha256 {digest}, not {self.sha256} as pinned")
        unpacked = folder.with_name("unpacked")
        unpack(archive, unpacked, label=self.handle if self.handle == self.url else f"{self.handle} ({self.url})")
        os.replace(self._saved_model_in(unpacked), folder)
        return {"handle": self.handle, "sha256": digest}

    def _check_encrypted(self, url: str) -> None:
        """Raise an InputError for an address that anybody on the way could answer."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in ("http", "ftp") and not _is_loopback(parts.hostname or ""):
            raise InputError(
                f"{self.handle}: {url} is not fetched, as anybody on the way could change it; use https, or download it"
                " yourself and give its folder"
            )

    def _open(self) -> Any:
        import http.client
        import urllib.error
        import urllib.request

        check = self._check_encrypted

        class Redirects(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *arguments: Any) -> Any:
                request = super().redirect_request(*arguments)
                if request is not None:
                    check(request.full_url)
                return request

        try:
            request = urllib.request.Request(self.url, headers={"User-Agent": f"tfhub_ft/{__version__}"})
            return urllib.request.build_opener(Redirects).open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            raise InputError(self._refused(error.code, error.reason)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise InputError(
                f"{self.handle}: not in the cache ({cache_dir()}), and {self.url} cannot be reached"
                f" ({getattr(error, 'reason', error)}); with a network, {self._pull} gets it"
            ) from error

    def _refused(self, code: int, reason: str) -> str:
        if code == 404:
            return f"{self.handle}: does not exist there ({self.url} answers HTTP 404); check its spelling and version"
        advice = f"{self._pull} tries again"
        if code in (401, 403):
            advice += "; where it asks for an account, download it in a browser, unpack it and give its folder"
        return f"{self.handle}: not in the cache ({cache_dir()}), and {self.url} answers HTTP {code} {reason}; {advice}"

    def _save(self, response: Any, archive: Path) -> None:
        length = response.headers.get("Content-Length") or ""
        total = int(length) if length.isdecimal() else None
        received = 0
        with progress(f"Downloading {self.handle}", total, unit="bytes") as advance, open(archive, "wb") as file:
            while chunk := self._read(response, received):
                file.write(chunk)
                received += len(chunk)
                advance(len(chunk))
        if total is not None and received != total:
            raise self._cut_off(f"{received:,} of {total:,} bytes")

    def _read(self, response: Any, received: int) -> bytes:
        import http.client

        try:
            return response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise self._cut_off(f"{received:,} bytes: {error}") from error

    def _cut_off(self, after: str) -> InputError:
        return InputError(
            f"{self.handle}: the download from {self.url} was cut off (after {after}); nothing of it is kept,"
            f" {self._pull} starts again"
        )

    def _saved_model_in(self, folder: Path) -> Path:
        if (folder / SAVED_MODEL).is_file():
            return folder
        tops = [top for top in folder.iterdir() if (top / SAVED_MODEL).is_file()]
        if len(tops) != 1:
            raise InputError(f"{self.handle}: the archive from {self.url} holds no {SAVED_MODEL} at its top")
        return tops[0]

    @property
    def _pull(self) -> str:
        return f"`{command_line('tfhub-ft', 'encoders', 'pull', *self.pull)}`"


def archive_at(asked: str, pull: tuple[str, ...]) -> Archive:
    """Return the archive that a handle or another address names, maybe with a pin.

    Raises:
        InputError: the address is not one that is downloaded from.
    """
    bare, pin = split_pin(asked)
    handle, url = _addresses(bare)
    is_catalogued = find_handle(bare) is not None or is_preprocessor(bare)
    return Archive(handle, url, pin, pull if is_catalogued else (*pull, "--trust"), is_catalogued)


def split_pin(asked: str) -> tuple[str, str | None]:
    """Return an address without its pin, and the SHA-256 that is pinned."""
    try:
        urllib.parse.urlsplit(asked)
        bare, fragment = urllib.parse.urldefrag(asked)
    except ValueError as error:
        raise InputError(f"{asked}: is not an address ({error})") from error
    if not fragment:
        return bare, None
    pin = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment.lower())
    if not pin:
        raise InputError(f"{asked}: what follows # must be sha256= and 64 hexadecimal digits")
    return bare, pin.group(1)


def _addresses(asked: str) -> tuple[str, str]:
    """The handle in its one spelling, and the address that it is downloaded from."""
    parts = urllib.parse.urlsplit(asked)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(f"{asked}: only http and https are fetched; download it yourself and give its folder")
    host, path = parts.netloc.lower(), parts.path.rstrip("/")
    if host == "tfhub.dev":
        return _tfhub_addresses(asked, path)
    if host in ("kaggle.com", "www.kaggle.com") and path.startswith("/models/"):
        return _kaggle_addresses(asked, path)
    return asked, asked


def _tfhub_addresses(asked: str, path: str) -> tuple[str, str]:
    if not re.fullmatch(r"(/[^/]+){2,}/\d+", path):
        raise InputError(f"{asked}: a tfhub.dev handle is {_TFHUB}/OWNER/NAME/VERSION")
    return f"{_TFHUB}{path}", f"{_mirrored(_TFHUB)}{path}?tf-hub-format=compressed"


def _kaggle_addresses(asked: str, path: str) -> tuple[str, str]:
    found = _KAGGLE_PATH.fullmatch(path)
    if not found or found["framework"].lower() != "tensorflow2":
        raise InputError(f"{asked}: a Kaggle handle is {_KAGGLE}/models/OWNER/MODEL/tensorFlow2/VARIATION/VERSION")
    model = "{owner}/{model}/tensorFlow2/{variation}/{version}".format_map(found.groupdict())
    return f"{_KAGGLE}/models/{model}", f"{_mirrored(_KAGGLE)}/api/v1/models/{model}/download"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _mirrored(base: str) -> str:
    return os.environ.get(MIRROR_VARIABLE, "").rstrip("/") or base


def _entry_of(folder: Path) -> dict[str, Any] | None:
    """What the cache knows about a whole entry; None where there is none."""
    parts = [folder / part / SAVED_MODEL for part in ("encoder", "preprocessor")]
    if not (folder / SAVED_MODEL).is_file() and not all(part.is_file() for part in parts):
        return None
    return read_entry(folder)
