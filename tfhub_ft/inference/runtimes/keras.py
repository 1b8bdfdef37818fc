"""Run a Keras model as its SavedModel is run, by signatures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch, Runtime, token_batch

if TYPE_CHECKING:
    import keras

    from tfhub_ft.tasks.base import Task


class KerasRuntime(Runtime):
    """A text-in Keras model with the signatures that its SavedModel has.

    Args:
        model: the model.
        task: its task.
        labels: its labels, in the order of the logits.
        decision: its thresholds.
    """

    def __init__(self, model: "keras.Model", task: "Task", labels: Sequence[str], decision: dict[str, Any]):
        self.model, self.task, self.labels, self.decision = model, task, labels, decision

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        import tensorflow as tf

        if signature == "tokens":
            return self.served(self.token_logits(batch))
        if signature == "embed":
            tokens = token_batch(self.model.get_layer("preprocessor"), list(zip(batch["text"], strict=True)))
            return {"embedding": np.asarray(embedding_model(self.model)(tokens, training=False))}
        texts = [tf.constant(column) for column in batch.values()]
        return _arrays(self.task.serving_fn(self.model, texts, self.labels, self.decision))

    def token_logits(self, batch: Batch) -> Any:
        """Return the outputs of the model's part from tokens on, a tensor (batch, ...)."""
        return self.model.get_layer("token_model")(batch, training=False)

    def served(self, logits: Any) -> Batch:
        """Return the outputs of the signature `tokens` for logits."""
        return _arrays(self.task.serving_outputs(logits, self.labels, self.decision))


def embedding_model(model: "keras.Model") -> "keras.Model | None":
    """Return the part of a bi-encoder that embeds one text's tokens; None for other models."""
    layers = model.get_layer("token_model").layers
    return next((layer for layer in layers if layer.name == "embedding_model"), None)


def _arrays(tensors: dict[str, Any]) -> Batch:
    return {name: np.asarray(tensor) for name, tensor in tensors.items()}
