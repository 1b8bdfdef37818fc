"""Pretrained text encoders of TF Hub as Keras 3 layers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfhub_ft.encoders.hub_encoder import HubEncoder as HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor as HubPreprocessor

__all__ = ["HubEncoder", "HubPreprocessor"]

# The mask token of every WordPiece vocabulary.
MASK = "[MASK]"


def __getattr__(name: str) -> Any:
    if name == "HubEncoder":
        from tfhub_ft.encoders.hub_encoder import HubEncoder

        return HubEncoder
    if name == "HubPreprocessor":
        from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

        return HubPreprocessor
    raise AttributeError(f"{__name__}.{name} does not exist")
