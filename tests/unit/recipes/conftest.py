"""An encoder that reads as many tokens as the recipes' default --seq-length."""

from pathlib import Path

import pytest

from tests.conftest import make_checkpoint
from tfhub_ft.encoders.convert import convert_checkpoint


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the TF Hub SavedModels of a tiny random BERT with 512 positions; do not change it."""
    folder = tmp_path_factory.mktemp("pairs") / "long"
    convert_checkpoint(make_checkpoint(folder.parent / "checkpoint", max_position_embeddings=512), folder)
    return folder
