"""An encoder and its preprocessor written into a folder that every recipe takes with `--encoder`."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.encoders.sources import resolve_preprocessor
from tfhub_ft.errors import WorkError
from tfhub_ft.files import written_aside

if TYPE_CHECKING:
    from tfhub_ft.encoders.encoder_layer import HubEncoder
    from tfhub_ft.encoders.preprocessor_layer import HubPreprocessor

PROOF_TEXTS = ("A short text.", "Another one, which is longer, says 1, 2 and 3; and then it ends.")
TOLERANCE = 1e-4


def write_pair(encoder: "HubEncoder", preprocessor: "HubPreprocessor", folder: Path) -> None:
    """Write FOLDER/encoder and FOLDER/preprocessor, and prove that the written encoder gives what the layer gives.

    Args:
        encoder: the layer, with the weights that it has now.
        preprocessor: its preprocessing layer.
        folder: where to write.

    Raises:
        WorkError: the written encoder answers differently; it was not kept.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from tfhub_ft.encoders.encoder_layer import HubEncoder

    tokens = preprocessor(tf.constant(PROOF_TEXTS))
    expected = encoder(tokens)["sequence_output"]
    with written_aside(folder / "encoder") as aside:
        encoder.write_module(aside)
        written = keras.ops.convert_to_numpy(HubEncoder(str(aside))(tokens)["sequence_output"])
        difference = float(np.abs(written - expected).max())
        if not difference <= TOLERANCE:
            raise WorkError(f"{folder / 'encoder'}: the written encoder differs by {difference:.2g}; it was not kept")
    with written_aside(folder / "preprocessor") as aside:
        shutil.copytree(resolve_preprocessor(preprocessor.encoder, preprocessor.preprocessor), aside)
