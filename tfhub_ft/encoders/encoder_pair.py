"""An encoder and its preprocessor written into a folder that every recipe takes with `--encoder`."""

from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.utils.errors import RunError
from tfhub_ft.utils.files import atomic_write

if TYPE_CHECKING:
    from tfhub_ft.encoders.hub_encoder import HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

PROOF_TEXTS = ("A short text.", "Another one, which is longer, says 1, 2 and 3; and then it ends.")
TOLERANCE = 1e-4


def write_pair(encoder: "HubEncoder", preprocessor: "HubPreprocessor", folder: Path) -> None:
    """Write FOLDER/encoder and FOLDER/preprocessor, and prove that the written encoder gives what the layer gives.

    Args:
        encoder: the layer, with the weights that it has now.
        preprocessor: its preprocessing layer.
        folder: where to write.

    Raises:
        RunError: the written encoder answers differently; it was not kept.
    """
    import numpy as np
    import tensorflow as tf

    from tfhub_ft.encoders.hub_encoder import HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor

    with atomic_write(folder / "preprocessor") as aside:
        preprocessor.write_module(aside)
        tokens = HubPreprocessor(encoder.encoder, preprocessor=str(aside))(tf.constant(PROOF_TEXTS))
    with atomic_write(folder / "encoder") as aside:
        encoder.write_module(aside)
        expected, written = (np.asarray(each(tokens)["sequence_output"]) for each in (encoder, HubEncoder(str(aside))))
        difference = float(np.abs(written - expected).max())
        if not difference <= TOLERANCE:
            raise RunError(f"{folder / 'encoder'}: the written encoder differs by {difference:.2g}; it was not kept")
