"""Pretrained text encoders of TF Hub: where they come from, and how they become layers of Keras 3."""

from typing import Any

__all__ = ["HubEncoder", "HubPreprocessor"]

# The token that stands where a word is hidden, in every WordPiece vocabulary.
MASK = "[MASK]"


def __getattr__(name: str) -> Any:
    if name == "HubEncoder":
        from tfhub_ft.encoders.hub_encoder import HubEncoder

        return HubEncoder
    if name == "HubPreprocessor":
        from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

        return HubPreprocessor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
