"""One label for each row, which is a text or a pair of texts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_label, to_nfc
from tfhub_ft.data.labels import format_labels, label_index
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics.calibration import probabilities_of
from tfhub_ft.metrics.scores import UNSEEN
from tfhub_ft.tasks.base import Task
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from tfhub_ft.settings import Settings

LABEL_ALIASES = ("class", "category", "target", "sentiment", "intent", "topic", "y", "quality", "is_duplicate")


@dataclass(frozen=True)
class Classification(Task):
    """Each row has one label out of a list.

    Where there are two labels, the last one is the positive one, and settings may ask for a precision of it: the
    threshold on its probability is then chosen on the validation rows.

    Args:
        fields: the segments of a row.
        monitor: the validation score that chooses the epoch: "accuracy", or "roc_auc" of two labels.
    """

    fields: tuple[str, ...] = ("text",)
    monitor: str = "accuracy"
    name: str = "classification"
    epoch_scores = ("accuracy", "roc_auc", "log_loss")
    primary_metric = "accuracy"
    label_column = "label"
    has_classes = True
    output_activation = "softmax"
    decision_field = "label"

    def __post_init__(self) -> None:
        # Copies of recipes made by version 0.1 have the older name.
        if self.monitor == "auc":
            object.__setattr__(self, "monitor", "roc_auc")

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        if not labeled:
            return super().columns(settings)
        label = Column("label", LABEL_ALIASES, check_label, settings.label_column, "--label-column")
        return [*super().columns(settings), label]

    def stratify_key(self, row: Row) -> tuple[str, ...]:
        return (row.values["label"],)

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """The labels of the training rows, in order: by number where all are whole numbers, else by name.

        Raises:
            InputError: there is only one, or the positive label is not among them.
        """
        found = self._found(rows, settings)
        if len(found) < 2:
            raise InputError(f"{source}: only one label ({found.pop()!r}); classification needs at least two")
        numbers = all(re.fullmatch(r"-?\d+", label) for label in found)
        labels = sorted(found, key=int if numbers else None)
        _check_two_labels(labels, settings, self.monitor, source)
        positive = getattr(settings, "positive_label", None)
        if positive is None:
            return labels
        positive = to_nfc(positive)
        if positive not in found:
            raise InputError(
                f"{source}: no row has the --positive-label {positive!r}; there are {format_labels(labels)}"
            )
        return [*(label for label in labels if label != positive), positive]

    def _found(self, rows: Sequence[Row], settings: "Settings") -> set[str]:
        """The labels that rows have, one at least."""
        return {row.values["label"] for row in rows}

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """The rows' labels as int32 indices of shape (rows,), `UNSEEN` where a label is not one of `labels`."""
        import numpy as np

        index = label_index(labels)
        return np.fromiter((index.get(row.values["label"], UNSEEN) for row in rows), "int32")

    def fit_thresholds(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], settings: "Settings"
    ) -> dict[str, Any]:
        """The threshold on the positive label's probability, where the settings want a precision."""
        from tfhub_ft.metrics.thresholds import threshold_for_precision

        wanted = getattr(settings, "wanted_precision", 0)
        if not wanted:
            return {}
        return threshold_for_precision(
            probabilities_of(logits, self.output_activation)[:, 1], (targets == 1).astype(int), wanted=wanted
        )

    def metrics(
        self,
        logits: "np.ndarray",
        targets: "np.ndarray",
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.intervals import classification_intervals
        from tfhub_ft.metrics.scores import classification_metrics

        probabilities = probabilities_of(logits, self.output_activation)
        predicted = predicted_classes(probabilities, thresholds)
        scores = classification_metrics(probabilities, targets, labels, predicted=predicted)
        if intervals:
            scores["intervals"] = classification_intervals(probabilities, targets, predicted)
        return scores

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """{"label", "score": the probability of that label, "probabilities": {label: probability}} for each row."""
        probabilities = probabilities_of(outputs["logits"], self.output_activation)
        return [
            {
                "label": labels[chosen],
                "score": float(row[chosen]),
                "probabilities": dict(zip(labels, map(float, row), strict=True)),
            }
            for chosen, row in zip(predicted_classes(probabilities, thresholds), probabilities, strict=True)
        ]

    def serving_outputs(self, logits: Any, labels: Sequence[str], thresholds: dict[str, Any]) -> dict[str, Any]:
        """`logits`, `probabilities`, `label` and `score`."""
        import tensorflow as tf

        probabilities = tf.nn.softmax(logits)
        if "threshold" in thresholds:
            chosen = tf.cast(probabilities[:, 1] >= thresholds["threshold"], tf.int32)
        else:
            chosen = tf.argmax(logits, -1, output_type=tf.int32)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "label": tf.gather(tf.constant(list(labels)), chosen),
            "score": tf.gather(probabilities, chosen, batch_dims=1),
        }


def _check_two_labels(labels: Sequence[str], settings: "Settings", monitor: str, source: str) -> None:
    needs_two = ("positive_label", "wanted_precision")
    asked = next((name for name in needs_two if getattr(settings, name, None)), None)
    if len(labels) == 2 or (asked is None and monitor != "roc_auc"):
        return
    what = f"--{asked.replace('_', '-')} needs two" if asked else "this recipe tells two apart"
    raise InputError(f"{source}: there are {len(labels)} labels ({format_labels(labels)}), and {what}")


def predicted_classes(probabilities: "np.ndarray", thresholds: dict[str, Any]) -> "np.ndarray":
    """Return the index of each row's predicted label, int (rows,)."""
    if "threshold" in thresholds:
        return (probabilities[:, 1] >= thresholds["threshold"]).astype(int)
    return probabilities.argmax(-1)


def balanced_weights(targets: "np.ndarray") -> list[float]:
    """A weight for each class, so that all classes count the same and the mean weight of a row is one."""
    import numpy as np

    counts = np.bincount(targets[targets >= 0])
    return (counts.sum() / (len(counts) * counts)).tolist()
