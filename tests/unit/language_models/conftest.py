"""What the tests of this room share."""

import importlib.util
from pathlib import Path

import pytest

# KerasHub's releases ask for Python 3.11; without it there is nothing to test here.
collect_ignore_glob = [] if importlib.util.find_spec("keras_hub") else ["test_*.py"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; nothing stands there yet."""
    monkeypatch.setenv("TFHUB_FT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
