"""Trusted code: the recipe files that this user has trained with, and --trust."""

import hashlib
import os
from pathlib import Path

import platformdirs

from tfhub_ft.utils.console import warn

TRUST_VARIABLE = "TFHUB_FT_TRUST"
CONFIG_VARIABLE = "TFHUB_FT_CONFIG"

_trained_here: set[str] = set()


def trusts_all() -> bool:
    """Return whether --trust is given, or $TFHUB_FT_TRUST is set and not 0."""
    return os.environ.get(TRUST_VARIABLE, "0") not in ("", "0")


def config_dir() -> Path:
    """Return the configuration folder: $TFHUB_FT_CONFIG, by default tfhub_ft in the user's configuration folder."""
    if folder := os.environ.get(CONFIG_VARIABLE):
        return Path(os.path.abspath(os.path.expanduser(folder)))
    return Path(platformdirs.user_config_dir("tfhub_ft", appauthor=False))


def record_recipe(content: bytes, name: str) -> None:
    """Record a recipe file that this user trains with as trusted, under its SHA-256 and with its name."""
    digest = hashlib.sha256(content).hexdigest()
    _trained_here.add(digest)
    path = _record(digest)
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(f"{name}\n", encoding="utf-8")
    except OSError as error:
        warn(
            f"{path.parent}: not writable ({error.strerror or error}), so opening the run requires --trust; set"
            f" ${CONFIG_VARIABLE} to a writable folder"
        )


def is_known_recipe(content: bytes) -> bool:
    """Return whether this user has trained with a recipe file of this content."""
    digest = hashlib.sha256(content).hexdigest()
    return digest in _trained_here or _record(digest).is_file()


def _record(digest: str) -> Path:
    return config_dir() / "recipes" / digest
