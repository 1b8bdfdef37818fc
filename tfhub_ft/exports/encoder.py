"""Export the fine-tuned encoder of a run as a TF Hub encoder."""

from pathlib import Path

from tfhub_ft.encoders.encoder_pair import write_pair
from tfhub_ft.run import Run
from tfhub_ft.settings import Settings
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write, check_new


def export_encoder(run: str | Path | Run, out_dir: str | Path) -> None:
    """Write a run's encoder and preprocessor into a new folder, verified. What `tfhub-ft encoders export` does.

    Example:
        export_encoder("runs/reviews", "my_encoder")
        tfhub_ft.train("spam", encoder="my_encoder")
    """
    from tfhub_ft.encoders.hub_encoder import encoder_of

    run, out_dir = run if isinstance(run, Run) else Run(run), Path(out_dir)
    if not isinstance(run.settings, Settings):
        raise InputError(f"{run.path}: expected a run with an encoder, got one with the {run.settings.pretrained}")
    check_new(out_dir)
    model = run.load_model()
    with atomic_write(out_dir) as aside:
        aside.mkdir()
        write_pair(encoder_of(model.get_layer("token_model")), model.get_layer("preprocessor"), aside)
