"""Any number of labels for each row."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_labels, label_columns_hint
from tfhub_ft.data.label_cells import fit_labels
from tfhub_ft.data.labels import label_index
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics.calibration import probabilities_of
from tfhub_ft.tasks.base import Task
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from tfhub_ft.data.batches import TokenRows
    from tfhub_ft.settings import Settings

LABELS_ALIASES = ("label", "tags", "categories", "emotions", "topics")


@dataclass(frozen=True)
class Multilabel(Task):
    """Each row has any subset of a list of labels; each label has a threshold of its own, chosen on validation."""

    fields: tuple[str, ...] = ("text",)
    monitor: str = "average_precision"
    name: str = "multilabel"
    epoch_scores = ("average_precision", "f1_micro", "log_loss")
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

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """The labels of the training rows, by name.

        Raises:
            InputError: no row has one.
        """
        found = Counter(label for row in rows for label in row.values["labels"])
        if not found:
            raise InputError(f"{source}: no row has a label; there is nothing to learn")
        return sorted(found)

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """float32 (rows, labels + 1), 1 where a row has a label; the last column is for labels not in `labels`."""
        import numpy as np

        index = label_index(labels)
        targets = np.zeros((len(rows), len(labels) + 1), "float32")
        for number, row in enumerate(rows):
            targets[number, [index.get(label, len(labels)) for label in row.values["labels"]]] = 1
        return targets

    def token_targets(self, tokens: "TokenRows", targets: "np.ndarray") -> "np.ndarray":
        """The targets of the labels that have a logit."""
        return targets[:, :-1]

    def fit_thresholds(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], settings: "Settings"
    ) -> dict[str, Any]:
        """A threshold a label: the one with the best F1 on these rows."""
        from tfhub_ft.metrics.thresholds import thresholds_for_f1

        return {
            "thresholds": thresholds_for_f1(probabilities_of(logits, self.output_activation), targets[:, : len(labels)])
        }

    def metrics(
        self,
        logits: "np.ndarray",
        targets: "np.ndarray",
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.intervals import multilabel_intervals
        from tfhub_ft.metrics.scores import multilabel_metrics

        probabilities = probabilities_of(logits, self.output_activation)
        scores = multilabel_metrics(probabilities, targets, labels, thresholds["thresholds"])
        if intervals:
            scores["intervals"] = multilabel_intervals(probabilities, targets, thresholds["thresholds"])
        return scores

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """{"labels": those at or above their threshold, likeliest first, "probabilities"} for each row."""
        answers = []
        for row in probabilities_of(outputs["logits"], self.output_activation):
            chosen = [i for i in row.argsort()[::-1] if row[i] >= thresholds["thresholds"][i]]
            probabilities = dict(zip(labels, map(float, row), strict=True))
            answers.append({"labels": [labels[i] for i in chosen], "probabilities": probabilities})
        return answers

    def serving_outputs(self, logits: Any, labels: Sequence[str], thresholds: dict[str, Any]) -> dict[str, Any]:
        """`logits`, `probabilities`, `chosen` (bool, by label) and `labels` (the names, "" where not chosen)."""
        import tensorflow as tf

        probabilities = tf.sigmoid(logits)
        chosen = probabilities >= tf.constant(thresholds["thresholds"], probabilities.dtype)
        names = tf.where(chosen, tf.constant(list(labels)), "")
        return {"logits": logits, "probabilities": probabilities, "chosen": chosen, "labels": names}
