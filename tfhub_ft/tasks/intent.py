"""One label out of many for each text, or none of them: a text may be out of scope."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import to_nfc
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics.calibration import probabilities_of
from tfhub_ft.metrics.scores import OUT_OF_SCOPE
from tfhub_ft.tasks.classification import Classification

if TYPE_CHECKING:
    import numpy as np

    from tfhub_ft.settings import Settings


@dataclass(frozen=True)
class Intent(Classification):
    """Classification whose rows may be out of scope. The last label is the one for these; it has no logit.

    A row's out-of-scope score is one minus its highest probability. Rows whose score is above a threshold are answered
    with the out-of-scope label. The threshold is chosen on the validation rows, as low as the wanted in-scope
    accuracy allows; rejected in-scope rows count as wrong.

    Reference:
        Larson et al. 2019, https://arxiv.org/abs/1909.02027
    """

    name: str = "intent"
    labels_without_logit = 1
    epoch_scores = ("accuracy", "in_scope_accuracy", "log_loss")

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """The intents, by name, and the out-of-scope label behind them."""
        return [*super().labels(rows, source, settings), to_nfc(settings.out_of_scope_label)]

    def _found(self, rows: Sequence[Row], settings: "Settings") -> set[str]:
        found = super()._found(rows, settings)
        return found - {to_nfc(settings.out_of_scope_label)} or found

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """The indices of the intents, int32 (rows,); `OUT_OF_SCOPE` or, of an intent not in `labels`, `UNSEEN`."""
        import numpy as np

        targets = super().targets(rows, labels, source)
        return np.where(targets == len(labels) - 1, OUT_OF_SCOPE, targets).astype("int32")

    def fit_thresholds(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], settings: "Settings"
    ) -> dict[str, Any]:
        """The threshold on the out-of-scope score."""
        from tfhub_ft.metrics.thresholds import threshold_for_rejection

        inside = targets != OUT_OF_SCOPE
        probabilities = probabilities_of(logits[inside], self.output_activation)
        threshold = threshold_for_rejection(
            1 - probabilities.max(-1), probabilities.argmax(-1) == targets[inside], wanted=settings.in_scope_accuracy
        )
        return {"threshold": threshold, "in_scope_accuracy": settings.in_scope_accuracy}

    def metrics(
        self,
        logits: "np.ndarray",
        targets: "np.ndarray",
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.intervals import intent_intervals
        from tfhub_ft.metrics.scores import intent_metrics

        probabilities = probabilities_of(logits, self.output_activation)
        scores = intent_metrics(probabilities, targets, labels, thresholds["threshold"])
        if intervals:
            predicted = predicted_intents(probabilities, labels, thresholds)
            scores["intervals"] = intent_intervals(
                probabilities, targets, len(labels), predicted, targets == OUT_OF_SCOPE
            )
        return scores

    def decode_serving_outputs(
        self,
        outputs: dict[str, "np.ndarray"],
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """{"label", "score": of the likeliest intent, "out_of_scope": score, "probabilities"} for each row."""
        answers = []
        for row in probabilities_of(outputs["logits"], self.output_activation):
            outside = 1 - float(row.max())
            label = labels[-1] if outside > thresholds["threshold"] else labels[row.argmax()]
            probabilities = dict(zip(labels[:-1], map(float, row), strict=True))
            answers.append(
                {"label": label, "score": float(row.max()), "out_of_scope": outside, "probabilities": probabilities}
            )
        return answers

    def serving_outputs(self, logits: Any, labels: Sequence[str], thresholds: dict[str, Any]) -> dict[str, Any]:
        """`logits`, `probabilities`, `label`, `score` and `out_of_scope`."""
        import tensorflow as tf

        probabilities = tf.nn.softmax(logits)
        score = tf.reduce_max(probabilities, -1)
        likeliest = tf.argmax(logits, -1, output_type=tf.int32)
        chosen = tf.where(1 - score > thresholds["threshold"], len(labels) - 1, likeliest)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "label": tf.gather(tf.constant(list(labels)), chosen),
            "score": score,
            "out_of_scope": 1 - score,
        }


def predicted_intents(probabilities: "np.ndarray", labels: Sequence[str], thresholds: dict[str, Any]) -> "np.ndarray":
    """Return the index of each row's label, int (rows,); the last one where the row is out of scope."""
    import numpy as np

    rejected = 1 - probabilities.max(-1) > thresholds["threshold"]
    return np.where(rejected, len(labels) - 1, probabilities.argmax(-1))
