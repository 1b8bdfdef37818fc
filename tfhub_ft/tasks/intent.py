"""Classification of intents, with a label for texts that are out of scope."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfhub_ft.data.columns import to_nfc
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics import OUT_OF_SCOPE, Scores
from tfhub_ft.tasks.base import Array, Arrays, Prediction, Segments, Tensors, Thresholds
from tfhub_ft.tasks.classification import Classification, balanced_weights

if TYPE_CHECKING:
    import tensorflow as tf

    from tfhub_ft.settings import IntentSettings


@dataclass(frozen=True)
class Intent(Classification):
    """Classification that rejects texts that are out of scope.

    The last label, which lacks a logit, is the out-of-scope label. The out-of-scope score of a row is one minus its
    highest probability; rows above a threshold are rejected. The threshold is chosen on validation rows, as low as the
    wanted in-scope accuracy allows. Rejected in-scope rows count as wrong.

    Args:
        fields: Text segments of a row.
        monitor: Validation score that selects the best epoch.
        name: Name of the task in exports.

    Example:
        Intent(monitor="in_scope_accuracy")

    Reference:
        [Larson et al., 2019](https://arxiv.org/abs/1909.02027)
    """

    name: str = "intent"
    labels_without_logit = 1
    epoch_scores = ("accuracy", "in_scope_accuracy", "log_loss")
    monitors = (
        *("accuracy", "in_scope_accuracy", "out_of_scope_recall", "out_of_scope_precision", "out_of_scope_roc_auc"),
        *("f1_macro", "log_loss"),
    )

    def labels(self, rows: Sequence[Row], source: str, settings: "IntentSettings") -> list[str]:
        return [*super().labels(rows, source, settings), to_nfc(settings.out_of_scope_label)]

    def _label_names(self, rows: Sequence[Row], settings: "IntentSettings") -> set[str]:
        names = super()._label_names(rows, settings)
        return names - {to_nfc(settings.out_of_scope_label)} or names

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> Array:
        """Return the indices of the intents, int32 (rows,), `OUT_OF_SCOPE` or `UNSEEN`."""
        import numpy as np

        targets = super().targets(rows, labels, source)
        return np.where(targets == len(labels) - 1, OUT_OF_SCOPE, targets).astype("int32")

    def balanced_weights(self, targets: Array, labels: Sequence[str]) -> list[float]:
        import numpy as np

        # The out-of-scope label is the last one.
        return balanced_weights(np.where(targets == OUT_OF_SCOPE, len(labels) - 1, targets), len(labels))

    def fit_thresholds(
        self, logits: Array, targets: Array, labels: Sequence[str], settings: "IntentSettings"
    ) -> Thresholds:
        from tfhub_ft.metrics.thresholds import threshold_for_rejection

        inside = targets != OUT_OF_SCOPE
        probabilities = self.probabilities(logits[inside])
        threshold = threshold_for_rejection(
            1 - probabilities.max(-1), probabilities.argmax(-1) == targets[inside], wanted=settings.in_scope_accuracy
        )
        return {"threshold": threshold, "in_scope_accuracy": settings.in_scope_accuracy}

    def predicted(self, probabilities: Array, labels: Sequence[str], thresholds: Thresholds) -> Array:
        import numpy as np

        rejected = 1 - probabilities.max(-1) > thresholds["threshold"]
        return np.where(rejected, len(labels) - 1, probabilities.argmax(-1))

    def metrics(
        self, logits: Array, targets: Array, labels: Sequence[str], thresholds: Thresholds, *, intervals: bool = False
    ) -> Scores:
        from tfhub_ft.metrics.intervals import intent_intervals
        from tfhub_ft.metrics.scores import intent_metrics

        probabilities = self.probabilities(logits)
        predicted = self.predicted(probabilities, labels, thresholds)
        scores = intent_metrics(probabilities, targets, labels, predicted)
        if intervals:
            outside = targets == OUT_OF_SCOPE
            scores["intervals"] = intent_intervals(probabilities, targets, len(labels), predicted, outside)
        return scores

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return {"label", "score": highest probability, "out_of_scope", "probabilities"} for each row."""
        probabilities = self.probabilities(outputs["logits"])
        return [
            {
                "label": labels[label],
                "score": float(row.max()),
                "out_of_scope": 1 - float(row.max()),
                "probabilities": dict(zip(labels[:-1], row.tolist(), strict=True)),
            }
            for label, row in zip(self.predicted(probabilities, labels, thresholds), probabilities, strict=True)
        ]

    def serving_outputs(self, logits: "tf.Tensor", labels: Sequence[str], thresholds: Thresholds) -> Tensors:
        """Return `logits`, `probabilities`, `label`, `score` and `out_of_scope`."""
        import tensorflow as tf

        probabilities = tf.nn.softmax(logits)
        score = tf.reduce_max(probabilities, -1)
        likeliest = tf.argmax(logits, -1, output_type=tf.int32)
        predicted = tf.where(1 - score > thresholds["threshold"], len(labels) - 1, likeliest)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "label": tf.gather(tf.constant(list(labels)), predicted),
            "score": score,
            "out_of_scope": 1 - score,
        }
