"""Classification with one label for each text or pair of texts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_label
from tfhub_ft.data.label_names import fit_label_names
from tfhub_ft.data.labels import find_label, format_labels, label_index
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics import UNSEEN, Scores
from tfhub_ft.tasks.base import Array, Arrays, Prediction, Segments, Task, Tensors, Thresholds
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

LABEL_ALIASES = ("class", "category", "target", "sentiment", "intent", "topic", "y", "quality", "is_duplicate")


@dataclass(frozen=True)
class Classification(Task):
    """Classification of texts, or pairs of texts, with one label for each row.

    Labels are sorted by name, or by number if all are integers. With two labels, the last one is the positive label,
    and the settings may ask for a precision: the threshold on its probability is then chosen on validation rows.

    Args:
        fields: Text segments of a row.
        monitor: Validation score that selects the best epoch by default; "roc_auc" needs two labels.
        name: Name of the task in exports.

    Example:
        Classification(("sentence1", "sentence2"))
    """

    fields: tuple[str, ...] = ("text",)
    monitor: str = "accuracy"
    name: str = "classification"
    epoch_scores = ("accuracy", "roc_auc", "log_loss")
    monitors = (
        *("accuracy", "precision", "recall", "f1", "precision_macro", "recall_macro", "f1_macro"),
        *("roc_auc", "average_precision", "log_loss"),
    )
    primary_metric = "accuracy"
    label_column = "label"
    has_classes = True
    output_activation = "softmax"
    decision_field = "label"

    def __post_init__(self) -> None:
        # Recipes copied from version 0.1 have the older name.
        if self.monitor == "auc":
            object.__setattr__(self, "monitor", "roc_auc")

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        if not labeled:
            return super().columns(settings)
        column = settings.label_column
        label = Column("label", LABEL_ALIASES, check_label, column, "--label-column", fit=fit_label_names)
        return [*super().columns(settings), label]

    def stratify_key(self, row: Row) -> tuple[str, ...]:
        return (row.values["label"],)

    def labels(self, rows: Sequence[Row], source: str, settings: Any) -> list[str]:
        names = self._label_names(rows, settings)
        if len(names) < 2:
            raise InputError(f"{source}: only one label ({names.pop()!r}); classification needs at least two")
        are_numbers = all(re.fullmatch(r"-?\d+", label) for label in names)
        labels = sorted(names, key=(lambda label: (int(label), label)) if are_numbers else None)
        self._check_label_count(labels, source, settings)
        positive = getattr(settings, "positive_label", None)
        if positive is None:
            return labels
        found = find_label(positive, names)
        if found is None:
            raise InputError(f"{source}: --positive-label {positive!r} not found; labels are {format_labels(labels)}")
        return [*(label for label in labels if label != found), found]

    def continued_labels(self, earlier: Sequence[str], labels: Sequence[str], source: str, settings: Any) -> list[str]:
        continued = super().continued_labels(earlier, labels, source, settings)
        self._check_label_count(continued, source, settings)
        positive = getattr(settings, "positive_label", None)
        if positive is not None and find_label(positive, continued) != continued[-1]:
            raise InputError(f"--positive-label {positive!r}: the earlier run has {continued[-1]!r}; leave it out")
        return continued

    def _label_names(self, rows: Sequence[Row], settings: Any) -> set[str]:
        return {row.values["label"] for row in rows}

    def _check_label_count(self, labels: Sequence[str], source: str, settings: Any) -> None:
        option = next((name for name in ("positive_label", "wanted_precision") if getattr(settings, name, None)), None)
        if len(labels) == 2 or (option is None and self.monitor != "roc_auc"):
            return
        needs = f"--{option.replace('_', '-')}" if option else "this recipe"
        raise InputError(f"{source}: {len(labels)} labels ({format_labels(labels)}); {needs} needs two")

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> Array:
        """Return the indices of the labels, int32 (rows,), or `UNSEEN`."""
        import numpy as np

        index = label_index(labels)
        return np.fromiter((index.get(row.values["label"], UNSEEN) for row in rows), "int32")

    def balanced_weights(self, targets: Array, labels: Sequence[str]) -> list[float]:
        return balanced_weights(targets, len(labels))

    def fit_thresholds(self, logits: Array, targets: Array, labels: Sequence[str], settings: Any) -> Thresholds:
        from tfhub_ft.metrics.thresholds import threshold_for_precision

        wanted = getattr(settings, "wanted_precision", 0)
        if not wanted:
            return {}
        return threshold_for_precision(self.probabilities(logits)[:, 1], (targets == 1).astype(int), wanted=wanted)

    def predicted(self, probabilities: Array, labels: Sequence[str], thresholds: Thresholds) -> Array:
        """Return the index of each row's predicted label, int (rows,)."""
        if "threshold" in thresholds:
            return (probabilities[:, 1] >= thresholds["threshold"]).astype(int)
        return probabilities.argmax(-1)

    def metrics(
        self, logits: Array, targets: Array, labels: Sequence[str], thresholds: Thresholds, *, intervals: bool = False
    ) -> Scores:
        from tfhub_ft.metrics.intervals import classification_intervals
        from tfhub_ft.metrics.scores import classification_metrics

        probabilities = self.probabilities(logits)
        predicted = self.predicted(probabilities, labels, thresholds)
        scores = classification_metrics(probabilities, targets, labels, predicted)
        if intervals:
            scores["intervals"] = classification_intervals(probabilities, targets, predicted)
        return scores

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return {"label", "score": probability of the label, "probabilities": by label} for each row."""
        probabilities = self.probabilities(outputs["logits"])
        return [
            {
                "label": labels[label],
                "score": float(row[label]),
                "probabilities": dict(zip(labels, row.tolist(), strict=True)),
            }
            for label, row in zip(self.predicted(probabilities, labels, thresholds), probabilities, strict=True)
        ]

    def serving_outputs(self, logits: "tf.Tensor", labels: Sequence[str], thresholds: Thresholds) -> Tensors:
        """Return `logits`, `probabilities`, `label` and `score`."""
        import tensorflow as tf

        probabilities = tf.nn.softmax(logits)
        if "threshold" in thresholds:
            predicted = tf.cast(probabilities[:, 1] >= thresholds["threshold"], tf.int32)
        else:
            predicted = tf.argmax(logits, -1, output_type=tf.int32)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "label": tf.gather(tf.constant(list(labels)), predicted),
            "score": tf.gather(probabilities, predicted, batch_dims=1),
        }


def balanced_weights(targets: "Array | None", classes: int | None = None) -> list[float]:
    """Return class weights that are inversely proportional to the classes' frequencies.

    The mean weight of a row is one.

    Args:
        targets: Class indices, int (rows,). Negative ones are ignored.
        classes: Number of classes; by default the greatest index plus one. The weight of a class without rows is one.

    Returns:
        A weight for each class.

    Raises:
        ValueError: If `targets` is None.

    Example:
        balanced_weights(np.array([0, 0, 0, 1]))  # [0.667, 2.0]
    """
    import numpy as np

    if targets is None:
        raise ValueError("balanced weights need targets; pass the targets of the training rows")
    counts = np.bincount(targets[targets >= 0], minlength=classes or 0)
    mean = counts.sum() / max(np.count_nonzero(counts), 1)
    return np.divide(mean, counts, out=np.ones(len(counts)), where=counts > 0).tolist()
