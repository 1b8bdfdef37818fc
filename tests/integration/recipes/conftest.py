"""An encoder with as many positions as the recipes' default --seq-length needs."""

from pathlib import Path

import pytest

from tests.conftest import MakeOnce, make_checkpoint
from tfhub_ft.encoders.convert import convert_checkpoint


@pytest.fixture(scope="session")
def tiny_pair(make_once: MakeOnce) -> Path:
    """The folder of the TF Hub SavedModels of a tiny random BERT with 512 positions; do not change it."""

    def fill(folder: Path) -> None:
        convert_checkpoint(make_checkpoint(folder / "checkpoint", max_position_embeddings=512), folder / "long")

    return make_once("long_pair", fill) / "long"
