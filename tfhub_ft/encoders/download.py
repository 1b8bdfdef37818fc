"""Download SavedModel archives into the cache."""

import hashlib
import ipaddress
import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.archives import unpack
from tfhub_ft.encoders.catalog import KAGGLE_URL, find_handle, is_preprocessor
from tfhub_ft.utils.cache import cache_dir, read_entry, store_in_cache
from tfhub_ft.utils.console import command_line, progress
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of
from tfhub_ft.utils.trust import TRUST_VARIABLE, trusts_all
from tfhub_ft.utils.version import __version__

if TYPE_CHECKING:
    import urllib.request
    from http.client import HTTPResponse

MIRROR_VARIABLE = "TFHUB_FT_MIRROR"
SAVED_MODEL = "saved_model.pb"

_TFHUB = "https://tfhub.dev"
_KAGGLE = "https://www.kaggle.com"
_TIMEOUT_S = 30
_CHUNK = 2**20


class CacheEntry:
    """A folder of the cache that is filled when it is first needed."""

    @property
    def folder(self) -> Path:
        raise NotImplementedError

    def cached(self) -> bool:
        return _entry_of(self.folder) is not None

    def get(self) -> Path:
        """Return the folder; fill it first if it is missing or damaged."""
        if not self.cached():
            store_in_cache(self.folder, self.make, _entry_of)
        return self.folder

    def make(self, folder: Path) -> dict[str, str]:
        """Fill a new folder; return the facts for entry.json."""
        raise NotImplementedError


@dataclass(frozen=True)
class Archive(CacheEntry):
    """A SavedModel archive on a server."""

    # Identifies the model, whatever server it is downloaded from.
    handle: str
    url: str
    # The pinned digest, if any.
    sha256: str | None
    # The arguments of `tfhub-ft encoders pull` that download it.
    pull: tuple[str, ...]
    in_catalog: bool

    @property
    def folder(self) -> Path:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "_", urllib.parse.urlsplit(self.handle).path).strip("._")[-80:]
        return cache_dir() / f"{slug}-{hashlib.sha256(self.handle.encode()).hexdigest()[:12]}"

    def get(self) -> Path:
        folder = super().get()
        digest = (_entry_of(folder) or {}).get("sha256")
        if self.sha256 and digest != self.sha256:
            raise InputError(
                f"{self.handle}: the cached archive has the sha256 {digest}, expected {self.sha256}; remove {folder} to"
                " download it again"
            )
        return folder

    def make(self, folder: Path) -> dict[str, str]:
        if not self.in_catalog and not trusts_all():
            raise InputError(
                f"{self.handle}: not in the catalog, and a SavedModel can run code; pass --trust (in Python, set"
                f" {TRUST_VARIABLE}=1) if you trust its author"
            )
        self._check_encrypted(self.url)
        archive = folder.with_name("archive")
        with self._open() as response:
            self._save(response, archive)
        digest = sha256_of(archive)
        if self.sha256 and digest != self.sha256:
            raise InputError(f"{self.handle}: the download has the sha256 {digest}, expected {self.sha256}")
        unpacked = folder.with_name("unpacked")
        unpack(archive, unpacked, label=self.handle if self.handle == self.url else f"{self.handle} ({self.url})")
        os.replace(self._saved_model_in(unpacked), folder)
        return {"handle": self.handle, "sha256": digest}

    def _check_encrypted(self, url: str) -> None:
        """Raise an InputError for an unencrypted URL on another machine."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in ("http", "ftp") and not _is_loopback(parts.hostname or ""):
            raise InputError(
                f"{self.handle}: {url} is not fetched, because an unencrypted download can be modified on the way; use"
                " https, or download it yourself and pass its folder"
            )

    def _open(self) -> "HTTPResponse":
        import urllib.error
        import urllib.request
        from http.client import HTTPException

        check = self._check_encrypted

        class Redirects(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *args: Any, **kwargs: Any) -> "urllib.request.Request | None":
                request = super().redirect_request(*args, **kwargs)
                if request is not None:
                    check(request.full_url)
                return request

        try:
            request = urllib.request.Request(self.url, headers={"User-Agent": f"tfhub_ft/{__version__}"})
            return urllib.request.build_opener(Redirects).open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._http_error(error.code, error.reason) from error
        except (OSError, HTTPException, ValueError) as error:
            raise InputError(
                f"{self.handle}: not in the cache ({cache_dir()}), and {self.url} cannot be reached"
                f" ({getattr(error, 'reason', error)}); run {self._pull} on a machine with a network"
            ) from error

    def _http_error(self, code: int, reason: str) -> InputError:
        if code == 404:
            return InputError(f"{self.handle}: not found ({self.url}: HTTP 404); check its spelling and version")
        advice = f"run {self._pull} to try again"
        if code in (401, 403):
            advice += "; if it needs an account, download it in a browser, unpack it and pass its folder"
        return InputError(
            f"{self.handle}: not in the cache ({cache_dir()}), and {self.url} returned HTTP {code} {reason}; {advice}"
        )

    def _save(self, response: "HTTPResponse", archive: Path) -> None:
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

    def _read(self, response: "HTTPResponse", received: int) -> bytes:
        from http.client import HTTPException

        try:
            return response.read(_CHUNK)
        except (OSError, HTTPException) as error:
            raise self._cut_off(f"{received:,} bytes: {error}") from error

    def _cut_off(self, received: str) -> InputError:
        return InputError(
            f"{self.handle}: the download from {self.url} was cut off after {received}; run {self._pull} to start again"
        )

    def _saved_model_in(self, folder: Path) -> Path:
        if (folder / SAVED_MODEL).is_file():
            return folder
        subfolders = [path for path in folder.iterdir() if (path / SAVED_MODEL).is_file()]
        if len(subfolders) != 1:
            raise InputError(f"{self.handle}: {SAVED_MODEL} not found at the top of the archive from {self.url}")
        return subfolders[0]

    @property
    def _pull(self) -> str:
        return f"`{command_line('tfhub-ft', 'encoders', 'pull', *self.pull)}`"


def archive_at(url: str, pull: tuple[str, ...]) -> Archive:
    """Return the archive of a handle or a URL, which may end in a pin."""
    handle, pin = split_pin(url)
    in_catalog = find_handle(handle) is not None or is_preprocessor(handle)
    return Archive(*_addresses(handle), pin, pull if in_catalog else (*pull, "--trust"), in_catalog)


def split_pin(url: str) -> tuple[str, str | None]:
    """Return a URL without its pin (`#sha256=...`), and the pinned digest."""
    try:
        urllib.parse.urlsplit(url)
        address, fragment = urllib.parse.urldefrag(url)
    except ValueError as error:
        raise InputError(f"{url}: not a valid URL ({error})") from error
    if not fragment:
        return address, None
    pin = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment.lower())
    if not pin:
        raise InputError(f"{url}: expected sha256= and 64 hexadecimal digits after #")
    return address, pin.group(1)


def _addresses(url: str) -> tuple[str, str]:
    """Return the canonical handle, and the URL to download it from."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InputError(f"{url}: only http and https URLs are fetched; download it yourself and pass its folder")
    host, path = parts.netloc.lower(), parts.path.rstrip("/")
    if host == "tfhub.dev":
        if not re.fullmatch(r"(/[^/]+){2,}/\d+", path):
            raise InputError(f"{url}: not a tfhub.dev handle; expected {_TFHUB}/OWNER/NAME/VERSION")
        return f"{_TFHUB}{path}", f"{_mirrored(_TFHUB)}{path}?tf-hub-format=compressed"
    if host in ("kaggle.com", "www.kaggle.com") and path.startswith("/models/"):
        match = KAGGLE_URL.fullmatch(url)
        if not match or not match["version"]:
            raise InputError(
                f"{url}: not a Kaggle handle; expected {_KAGGLE}/models/OWNER/MODEL/tensorFlow2/VARIATION/VERSION"
            )
        model = f"{match['model']}/tensorFlow2/{match['variation']}/{match['version']}"
        return f"{_KAGGLE}/models/{model}", f"{_mirrored(_KAGGLE)}/api/v1/models/{model}/download"
    return url, url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _mirrored(base: str) -> str:
    return os.environ.get(MIRROR_VARIABLE, "").rstrip("/") or base


def _entry_of(folder: Path) -> dict[str, Any] | None:
    """Return the facts about a complete entry of the cache, or None."""
    pair = [folder / part / SAVED_MODEL for part in ("encoder", "preprocessor")]
    if not (folder / SAVED_MODEL).is_file() and not all(file.is_file() for file in pair):
        return None
    return read_entry(folder)
