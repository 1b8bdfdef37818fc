"""One label out of many for each text, or none of them: a text may be out of scope."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import composed
from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import OUT_OF_SCOPE
from tfhub_ft.tasks.classification import Classification

if TYPE_CHECKING:
    import numpy as np

    from tfhub_ft.evaluation.report.html_report import Scored
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
    epoch_scores = ("accuracy", "in_scope_accuracy", "log_loss")

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """The intents, by name, and the out-of-scope label behind them."""
        return [*super().labels(rows, source, settings), composed(settings.out_of_scope_label)]

    def _found(self, rows: Sequence[Row], settings: "Settings") -> set[str]:
        found = super()._found(rows, settings)
        return found - {composed(settings.out_of_scope_label)} or found

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """The indices of the intents, int32 (rows,); `OUT_OF_SCOPE` or, of an intent not in `labels`, `UNSEEN`."""
        import numpy as np

        targets = super().targets(rows, labels, source)
        return np.where(targets == len(labels) - 1, OUT_OF_SCOPE, targets).astype("int32")

    def model_arguments(self, labels: Sequence[str]) -> dict[str, Any]:
        return {"num_classes": len(labels) - 1}

    def compile_arguments(self, settings: "Settings", targets: "np.ndarray") -> dict[str, Any]:
        from tfhub_ft.tasks.losses import InScopeAccuracy, WeightedCrossEntropy

        return {"loss": WeightedCrossEntropy(), "metrics": [InScopeAccuracy(name="accuracy")]}

    def fit_thresholds(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], settings: "Settings"
    ) -> dict[str, Any]:
        """The threshold on the out-of-scope score."""
        from tfhub_ft.metrics.thresholds import threshold_for_rejection

        inside = targets != OUT_OF_SCOPE
        probabilities = self.probabilities(logits[inside])
        threshold = threshold_for_rejection(
            1 - probabilities.max(-1), probabilities.argmax(-1) == targets[inside], wanted=settings.in_scope_accuracy
        )
        return {"threshold": threshold, "in_scope_accuracy": settings.in_scope_accuracy}

    def metrics(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.scores import intent_metrics

        return intent_metrics(self.probabilities(logits), targets, labels, decision["threshold"])

    def intervals(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, tuple[float, float]]:
        from tfhub_ft.metrics.intervals import intent_intervals

        probabilities = self.probabilities(logits)
        predicted = _chosen(probabilities, labels, decision)
        return intent_intervals(probabilities, targets, len(labels), predicted, targets == OUT_OF_SCOPE)

    def baseline(
        self, label_rows: Mapping[str, int], train_rows: int, rows: int, labels: Sequence[str]
    ) -> "np.ndarray":
        return super().baseline(label_rows, train_rows, rows, labels[:-1])

    def decide_baseline(self, labels: Sequence[str]) -> dict[str, Any]:
        return {"threshold": 1.0}

    def correctness(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> "tuple[list[str], np.ndarray]":
        import numpy as np

        chosen = _chosen(self.probabilities(logits), labels, decision)
        return [labels[i] for i in chosen], chosen == np.where(targets == OUT_OF_SCOPE, len(labels) - 1, targets)

    def report(self, scored: "Scored") -> list[Any]:
        from tfhub_ft.evaluation.report.classification_report import of_intents

        probabilities = self.probabilities(scored.logits)
        return of_intents(scored, probabilities, _chosen(probabilities, scored.labels, scored.decision))

    def answers(self, logits: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]) -> list[dict[str, Any]]:
        """{"label", "score": of the likeliest intent, "out_of_scope": score, "probabilities"} for each row."""
        answers = []
        for row in self.probabilities(logits):
            outside = 1 - float(row.max())
            label = labels[-1] if outside > decision["threshold"] else labels[row.argmax()]
            probabilities = dict(zip(labels[:-1], map(float, row), strict=True))
            answers.append(
                {"label": label, "score": float(row.max()), "out_of_scope": outside, "probabilities": probabilities}
            )
        return answers

    def serving_outputs(self, logits: Any, labels: Sequence[str], decision: dict[str, Any]) -> dict[str, Any]:
        """`logits`, `probabilities`, `label`, `score` and `out_of_scope`."""
        import tensorflow as tf

        probabilities = tf.nn.softmax(logits)
        score = tf.reduce_max(probabilities, -1)
        likeliest = tf.argmax(logits, -1, output_type=tf.int32)
        chosen = tf.where(1 - score > decision["threshold"], len(labels) - 1, likeliest)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "label": tf.gather(tf.constant(list(labels)), chosen),
            "score": score,
            "out_of_scope": 1 - score,
        }


def _chosen(probabilities: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]) -> "np.ndarray":
    """The index of each row's label, int (rows,); the last one where it is out of scope."""
    import numpy as np

    rejected = 1 - probabilities.max(-1) > decision["threshold"]
    return np.where(rejected, len(labels) - 1, probabilities.argmax(-1))
