"""A trained model without the words that its domain does not use."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.distillation.distill import take_head
from tfhub_ft.distillation.pruning import cut_encoder
from tfhub_ft.distillation.vocabulary import domain_vocabulary
from tfhub_ft.encoders.hub_encoder import encoder_of
from tfhub_ft.run import Run
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import temporary_folder

if TYPE_CHECKING:
    import keras


def check_trimmable(run: Run) -> None:
    """Raise an InputError where a run's recipe has no words to be left out."""
    task = run.recipe.task
    if isinstance(task, WindowedTask) or task.name == "retrieval":
        raise InputError(f"--vocabulary domain: the recipe {run.recipe.name} keeps the whole vocabulary; leave it out")


def trimmed_model(run: Run, model: "keras.Model", texts: Sequence[tuple[str, ...]]) -> "keras.Model":
    """A run's model with the rows of its word embeddings that a domain needs, and the positions that it reads.

    Texts like those given get the same tokens, and the same answers; in others, words that were left out are spelled
    in smaller pieces.

    Args:
        run: the run.
        model: its text-in model.
        texts: the segments of each training row.

    Returns:
        A text-in model.

    Raises:
        InputError: its encoder is none that can be cut.

    Example:
        trimmed_model(run, run.load_model(), [("a warm, funny film",)])
    """
    preprocessor, network = model.get_layer("preprocessor"), model.get_layer("token_model")
    with temporary_folder() as folder:
        pair = Path(folder) / "pair"
        words = domain_vocabulary(texts, preprocessor)
        cut_encoder(encoder_of(network), preprocessor, pair, vocabulary=words, seq_length=preprocessor.seq_length)
        settings = run.settings.replaced({"encoder": str(pair), "preprocessor": None})
        trimmed = run.recipe.build(settings, run.labels)
    take_head(network, trimmed.get_layer("token_model"))
    return trimmed
