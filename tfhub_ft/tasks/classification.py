"""One label for each text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.rows import Column, Row, check_label, check_text
from tfhub_ft.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from tfhub_ft.settings import TextSettings

TEXT_ALIASES = ("sentence", "review", "content", "message", "comment", "tweet", "body", "url")
LABEL_ALIASES = ("class", "category", "target", "sentiment", "intent", "topic", "y")


@dataclass(frozen=True)
class Classification:
    """Each row is a text and one label out of a list."""

    name: str = "classification"
    best: str = "accuracy"

    def columns(self, settings: "TextSettings") -> list[Column]:
        """The columns that rows are read from."""
        return [
            Column("text", TEXT_ALIASES, check_text, settings.text_column, "--text-column"),
            Column("label", LABEL_ALIASES, check_label, settings.label_column, "--label-column"),
        ]

    def inputs(self, row: Row) -> tuple[str, ...]:
        """The segments of text that the model reads."""
        return (row.values["text"],)

    def stratum(self, row: Row) -> str:
        """What a split keeps the shares of."""
        return row.values["label"]

    def labels(self, rows: Sequence[Row], source: str) -> list[str]:
        """The labels of the training rows, in order: by number where all are whole numbers, else by name.

        Raises:
            InputError: there is only one.
        """
        found = {row.values["label"] for row in rows}
        if len(found) < 2:
            raise InputError(f"{source}: every row has the label {found.pop()!r}; there is nothing to tell apart")
        numbers = all(re.fullmatch(r"-?\d+", label) for label in found)
        return sorted(found, key=int if numbers else None)

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """The rows' labels as int32 indices of shape (rows,).

        Raises:
            InputError: a row has a label that is not in the list.
        """
        import numpy as np

        index = {label: i for i, label in enumerate(labels)}
        for row in rows:
            if row.values["label"] not in index:
                raise InputError(
                    f"{source}, line {row.line}: label {row.values['label']!r} was not seen in training;"
                    f" the labels are {_listed(labels)}"
                )
        return np.array([index[row.values["label"]] for row in rows], "int32")

    def model_arguments(self, labels: Sequence[str]) -> dict[str, Any]:
        """What a recipe's `build_model` must know of the labels."""
        return {"num_classes": len(labels)}

    def compile_arguments(self) -> dict[str, Any]:
        """The loss and the metrics that `compile` takes."""
        import keras

        return {
            "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "metrics": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        }

    def metrics(self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str]) -> dict[str, Any]:
        """The scores of logits, (rows, classes), against targets, (rows,)."""
        from tfhub_ft.evaluation.metrics import classification_metrics

        return classification_metrics(softmax(logits), targets, labels)

    def answers(self, logits: "np.ndarray", labels: Sequence[str]) -> list[dict[str, Any]]:
        """What logits, (rows, classes), say in words: label, score and the probability of every label."""
        return [
            {
                "label": labels[row.argmax()],
                "score": float(row.max()),
                "probabilities": dict(zip(labels, map(float, row), strict=True)),
            }
            for row in softmax(logits)
        ]

    def served(self, logits: Any, labels: Sequence[str]) -> dict[str, Any]:
        """The outputs of an exported signature, as tensors: logits, probabilities, label and score."""
        import tensorflow as tf

        probabilities = tf.nn.softmax(logits)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "label": tf.gather(tf.constant(list(labels)), tf.argmax(logits, -1)),
            "score": tf.reduce_max(probabilities, -1),
        }


def softmax(logits: "np.ndarray") -> "np.ndarray":
    """Probabilities, (rows, classes), in float64: they sum to one as closely as scikit-learn asks for."""
    import numpy as np

    powers = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:10]) + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")
