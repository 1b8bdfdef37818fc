"""Classification with any number of labels for each text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_labels, label_columns_hint
from tfhub_ft.data.label_cells import fit_labels
from tfhub_ft.data.labels import label_index
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics import Scores
from tfhub_ft.tasks.base import Array, Arrays, Prediction, Segments, Task, Tensors, Thresholds
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

    from tfhub_ft.data.batches import TokenRows

LABELS_ALIASES = ("label", "tags", "categories", "emotions", "topics")


@dataclass(frozen=True)
class Multilabel(Task):
    """Classification with any number of labels for each row.

    Each label has its own threshold, the one with the highest F1 on validation rows.

    Args:
        fields: Text segments of a row.
        monitor: Validation score that selects the best epoch.
        name: Name of the task in exports.

    Example:
        Multilabel(monitor="f1_micro")
    """

    fields: tuple[str, ...] = ("text",)
    monitor: str = "average_precision"
    name: str = "multilabel"
    epoch_scores = ("average_precision", "f1_micro", "log_loss")
    monitors = (
        *("f1_micro", "f1_macro", "precision_micro", "recall_micro", "exact_match"),
        *("label_ranking_average_precision", "average_precision", "log_loss"),
    )
    primary_metric = "f1_micro"
    label_column = "labels"
    has_classes = True
    output_activation = "sigmoid"
    decision_field = "labels"

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        if not labeled:
            return super().columns(settings)
        labels = Column(
            "labels",
            LABELS_ALIASES,
            check_labels,
            settings.labels_column,
            "--labels-column",
            several=True,
            fit=partial(fit_labels, separator=settings.label_separator),
            hint=label_columns_hint,
        )
        return [*super().columns(settings), labels]

    def stratify_key(self, row: Row) -> tuple[str, ...]:
        return tuple(sorted(row.values["labels"]))

    def labels(self, rows: Sequence[Row], source: str, settings: Any) -> list[str]:
        names = {label for row in rows for label in row.values["labels"]}
        if not names:
            raise InputError(f"{source}: all rows are without labels; at least one label is needed")
        return sorted(names)

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> Array:
        """Return 1 for each label of a row, float32 (rows, labels + 1); the last column is for unseen labels."""
        import numpy as np

        index = label_index(labels)
        targets = np.zeros((len(rows), len(labels) + 1), "float32")
        for number, row in enumerate(rows):
            targets[number, [index.get(label, len(labels)) for label in row.values["labels"]]] = 1
        return targets

    def token_targets(self, tokens: "TokenRows", targets: Array) -> Array:
        return targets[:, :-1]

    def balanced_weights(self, targets: Array, labels: Sequence[str]) -> list[float]:
        """Return the negative rows of each label divided by its positive rows, or 1 if either are missing."""
        import numpy as np

        positive = targets[:, : len(labels)].sum(0)
        negative = len(targets) - positive
        out = np.ones(len(labels))
        return np.divide(negative, positive, out=out, where=(positive > 0) & (negative > 0)).tolist()

    def fit_thresholds(self, logits: Array, targets: Array, labels: Sequence[str], settings: Any) -> Thresholds:
        from tfhub_ft.metrics.thresholds import thresholds_for_f1

        return {"thresholds": thresholds_for_f1(self.probabilities(logits), targets[:, : len(labels)])}

    def metrics(
        self, logits: Array, targets: Array, labels: Sequence[str], thresholds: Thresholds, *, intervals: bool = False
    ) -> Scores:
        from tfhub_ft.metrics.intervals import multilabel_intervals
        from tfhub_ft.metrics.scores import multilabel_metrics

        probabilities = self.probabilities(logits)
        scores = multilabel_metrics(probabilities, targets, labels, thresholds["thresholds"])
        if intervals:
            scores["intervals"] = multilabel_intervals(probabilities, targets, thresholds["thresholds"])
        return scores

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return {"labels": those at or above their threshold, most likely first, "probabilities"} for each row."""
        predictions = []
        for row in self.probabilities(outputs["logits"]):
            predicted = [labels[i] for i in row.argsort()[::-1] if row[i] >= thresholds["thresholds"][i]]
            predictions.append({"labels": predicted, "probabilities": dict(zip(labels, row.tolist(), strict=True))})
        return predictions

    def serving_outputs(self, logits: "tf.Tensor", labels: Sequence[str], thresholds: Thresholds) -> Tensors:
        """Return `logits`, `probabilities`, `chosen` (bool, by label) and `labels` (the names, or "")."""
        import tensorflow as tf

        probabilities = tf.sigmoid(logits)
        chosen = probabilities >= tf.constant(thresholds["thresholds"], probabilities.dtype)
        names = tf.where(chosen, tf.constant(list(labels)), "")
        return {"logits": logits, "probabilities": probabilities, "chosen": chosen, "labels": names}
