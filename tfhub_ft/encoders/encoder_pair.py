"""An encoder and its preprocessor written into a folder that every recipe takes with `--encoder`."""

from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import atomic_write, check_new

if TYPE_CHECKING:
    from tfhub_ft.encoders.hub_encoder import HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
    from tfhub_ft.run import Run

PROOF_TEXTS = ("A short text.", "Another one, which is longer, says 1, 2 and 3; and then it ends.")
TOLERANCE = 1e-4


def export_encoder(run: "str | Path | Run", out_dir: str | Path) -> None:
    """Write the fine-tuned encoder of a run as a TF Hub encoder. What `tfhub-ft encoders export` does.

    Args:
        run: a finished run, or its folder.
        out_dir: the folder to make, with `encoder` and `preprocessor` in it; it must not exist.

    Raises:
        InputError: `out_dir` exists, or the run is not finished.
        RunError: the written encoder answers differently; nothing is left behind.

    Example:
        export_encoder("runs/reviews", "my_encoder")
        tfhub_ft.train("spam", encoder="my_encoder")
    """
    from tfhub_ft.encoders.hub_encoder import encoder_of
    from tfhub_ft.run import Run
    from tfhub_ft.settings import Settings

    run, out_dir = run if isinstance(run, Run) else Run(run), Path(out_dir)
    if not isinstance(run.settings, Settings):
        raise InputError(f"{run.path}: has no encoder, but the {run.settings.pretrained}")
    check_new(out_dir)
    model = run.load_model()
    with atomic_write(out_dir) as aside:
        aside.mkdir()
        write_pair(encoder_of(model.get_layer("token_model")), model.get_layer("preprocessor"), aside)


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
