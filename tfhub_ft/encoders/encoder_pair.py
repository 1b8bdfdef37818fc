"""Write an encoder and its preprocessor into a folder for `--encoder`."""

from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.utils.errors import RunError
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    from tfhub_ft.encoders.hub_encoder import HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

TEXTS = ("A short text.", "Another one, which is longer, says 1, 2 and 3; and then it ends.")
TOLERANCE = 1e-4


def write_pair(encoder: "HubEncoder", preprocessor: "HubPreprocessor", folder: Path) -> None:
    """Write FOLDER/encoder and FOLDER/preprocessor, and verify that the written encoder reproduces the layer."""
    import numpy as np
    import tensorflow as tf

    from tfhub_ft.encoders.hub_encoder import HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

    with atomic_write(folder / "preprocessor") as new_folder:
        preprocessor.write_module(new_folder)
        tokens = HubPreprocessor(encoder.encoder, preprocessor=str(new_folder))(tf.constant(TEXTS))
    with atomic_write(folder / "encoder") as new_folder:
        encoder.write_module(new_folder)
        layers = (encoder, HubEncoder(str(new_folder)))
        expected, written = (np.asarray(layer(tokens)["sequence_output"]) for layer in layers)
        difference = float(np.abs(written - expected).max())
        if not difference <= TOLERANCE:
            raise RunError(
                f"{folder / 'encoder'}: the outputs of the written encoder differ by {difference:.2g}; it was removed"
            )
