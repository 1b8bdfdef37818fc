"""Run a Keras model with the signatures of its SavedModel."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.inference.runtimes.base import SERVING_DEFAULT, Batch, Runtime, to_arrays, token_batch

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfhub_ft.tasks.base import Task


class KerasRuntime(Runtime):
    """A text-in Keras model with the signatures of its SavedModel."""

    def __init__(self, model: "keras.Model", task: "Task", labels: Sequence[str], thresholds: dict[str, Any]):
        self.model, self.task, self.labels, self.thresholds = model, task, labels, thresholds

    def __call__(self, batch: Batch, signature: str = SERVING_DEFAULT) -> Batch:
        import tensorflow as tf

        if signature == "tokens":
            return self.serving_outputs(self.token_logits(batch))
        if signature == "embed" and (embed := embedding_model(self.model)):
            tokens = token_batch(self.model.get_layer("preprocessor"), list(zip(batch["text"], strict=True)))
            return to_arrays({"embedding": embed(tokens, training=False)})
        texts = [tf.constant(column) for column in batch.values()]
        return to_arrays(self.task.serving_fn(self.model, texts, self.labels, self.thresholds))

    def token_logits(self, batch: Batch) -> "tf.Tensor":
        """Return the logits for tokens, (batch, ...)."""
        return self.model.get_layer("token_model")(batch, training=False)

    def serving_outputs(self, logits: "tf.Tensor") -> Batch:
        """Return the outputs of the signature `tokens` for logits."""
        return to_arrays(self.task.serving_outputs(logits, self.labels, self.thresholds))


def embedding_model(model: "keras.Model") -> "keras.Model | None":
    """Return the part of a bi-encoder that embeds the tokens of one text; None for other models."""
    layers = model.get_layer("token_model").layers
    return next((layer for layer in layers if layer.name == "embedding_model"), None)
