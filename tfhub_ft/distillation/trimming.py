"""Prune the vocabulary of a trained model to the tokens of its domain."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.distillation.pruning import copy_head, cut_encoder
from tfhub_ft.distillation.vocabulary import domain_vocabulary
from tfhub_ft.encoders.hub_encoder import encoder_of
from tfhub_ft.run import Run
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import temporary_folder

if TYPE_CHECKING:
    import keras


def check_trimmable(run: Run) -> None:
    """Raise an InputError where the recipe of a run needs its whole vocabulary."""
    task = run.recipe.task
    if isinstance(task, WindowedTask) or task.name == "retrieval":
        raise InputError(f"--vocabulary domain: not available for recipe {run.recipe.name}; leave it out")


def trimmed_model(run: Run, model: "keras.Model", texts: Sequence[tuple[str, ...]]) -> "keras.Model":
    """Return a run's text-in model with the token and position embeddings that the texts of its domain need.

    Its predictions for such texts are the same; in others, words whose tokens were removed are split into smaller
    tokens.
    """
    preprocessor, network = model.get_layer("preprocessor"), model.get_layer("token_model")
    with temporary_folder() as folder:
        pair = Path(folder) / "pair"
        vocabulary = domain_vocabulary(texts, preprocessor)
        cut_encoder(encoder_of(network), preprocessor, pair, vocabulary=vocabulary, seq_length=preprocessor.seq_length)
        settings = run.settings.replaced({"encoder": str(pair), "preprocessor": None})
        trimmed = run.recipe.build(settings, run.labels)
    copy_head(network, trimmed.get_layer("token_model"))
    return trimmed
