"""One label for each row, which is a text or a pair of texts."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_label, composed
from tfhub_ft.data.labels import label_index, listed
from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import UNSEEN, Task
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.batches import TokenRows
    from tfhub_ft.evaluation.report.html_report import Scored
    from tfhub_ft.settings import Settings

SMALLEST = 1e-30
# Enough for a regression on one or two inputs.
FITTED_ROWS = 2000
LABEL_ALIASES = ("class", "category", "target", "sentiment", "intent", "topic", "y", "quality", "is_duplicate")


@dataclass(frozen=True)
class Classification(Task):
    """Each row has one label out of a list.

    Where there are two labels, the last one is the positive one, and settings may ask for a precision of it: the
    threshold on its probability is then chosen on the validation rows.

    Args:
        fields: the segments of a row.
        best: the validation score that chooses the epoch: "accuracy", or "roc_auc" of two labels.
    """

    fields: tuple[str, ...] = ("text",)
    monitor: str = "accuracy"
    name: str = "classification"
    epoch_scores = ("accuracy", "roc_auc", "log_loss")
    primary_metric = "accuracy"
    tflite_output_name = "probabilities"
    output_activation = "softmax"

    def __post_init__(self) -> None:
        # Copies of recipes made by version 0.1 have the older name.
        if self.monitor == "auc":
            object.__setattr__(self, "best", "roc_auc")

    def columns(self, settings: "Settings") -> list[Column]:
        label = Column("label", LABEL_ALIASES, check_label, settings.label_column, "--label-column")
        return [*self.text_columns(settings), label]

    def stratify_key(self, row: Row) -> str:
        return row.values["label"]

    def known_labels(self, labels: Sequence[str]) -> set[str]:
        return set(label_index(labels))

    def without_labels(self, row: Row, dropped: Collection[str]) -> Row | None:
        return None if row.values["label"] in dropped else row

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
        positive = composed(positive)
        if positive not in found:
            raise InputError(f"{source}: no row has the --positive-label {positive!r}; there are {listed(labels)}")
        return [*(label for label in labels if label != positive), positive]

    def _found(self, rows: Sequence[Row], settings: "Settings") -> set[str]:
        """The labels that rows have, one at least."""
        return {row.values["label"] for row in rows}

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> "np.ndarray":
        """The rows' labels as int32 indices of shape (rows,), `UNSEEN` where a label is not one of `labels`."""
        import numpy as np

        index = label_index(labels)
        return np.fromiter((index.get(row.values["label"], UNSEEN) for row in rows), "int32")

    def compile_arguments(self, settings: "Settings", targets: "np.ndarray") -> dict[str, Any]:
        import keras

        from tfhub_ft.tasks.losses import WeightedCrossEntropy

        balanced = getattr(settings, "class_weight", "none") == "balanced"
        weights = balanced_weights(targets) if balanced else None
        return {
            "loss": WeightedCrossEntropy(weights, focal_gamma=getattr(settings, "focal_gamma", 0.0)),
            "metrics": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        }

    def initialize(
        self, network: "keras.Model", tokens: "TokenRows", targets: "np.ndarray", settings: "Settings"
    ) -> None:
        """Fit the head's weights of inputs that are computed by formula, such as a cosine, by logistic regression."""
        import numpy as np

        from tfhub_ft.models.heads import ClassificationHead

        head = network.outputs[0]._keras_history.operation
        if isinstance(head, ClassificationHead) and head.fitted_inputs:
            rows = np.random.default_rng(settings.seed).permutation(np.flatnonzero(targets >= 0))[:FITTED_ROWS]
            _fit_inputs(network, head, tokens.subset(rows), targets[rows])

    def fit_thresholds(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], settings: "Settings"
    ) -> dict[str, Any]:
        """The threshold on the positive label's probability, where the settings want a precision."""
        from tfhub_ft.metrics.thresholds import threshold_for_precision

        wanted = getattr(settings, "wanted_precision", 0)
        if not wanted:
            return {}
        return threshold_for_precision(self.probabilities(logits)[:, 1], (targets == 1).astype(int), wanted=wanted)

    def metrics(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.scores import classification_metrics

        probabilities = self.probabilities(logits)
        return classification_metrics(probabilities, targets, labels, predicted=_chosen(probabilities, decision))

    def intervals(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, tuple[float, float]]:
        from tfhub_ft.metrics.intervals import classification_intervals

        probabilities = self.probabilities(logits)
        return classification_intervals(probabilities, targets, _chosen(probabilities, decision))

    def baseline(
        self, label_rows: Mapping[str, int], train_rows: int, rows: int, labels: Sequence[str]
    ) -> "np.ndarray":
        import numpy as np

        return np.tile(np.log([max(label_rows.get(label, 0), SMALLEST) for label in labels]), (rows, 1))

    def warnings(
        self, scores: Mapping[str, Mapping[str, Any]], labels: Sequence[str], decision: dict[str, Any]
    ) -> list[str]:
        from tfhub_ft.metrics.thresholds import precision_warning

        return [*super().warnings(scores, labels, decision), *precision_warning(scores, decision)]

    def correctness(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> "tuple[list[str], np.ndarray]":
        chosen = _chosen(self.probabilities(logits), decision)
        return [labels[i] for i in chosen], chosen == targets

    def report(self, scored: "Scored") -> list[Any]:
        from tfhub_ft.evaluation.report.classification_report import of_one_label

        probabilities = self.probabilities(scored.logits)
        return of_one_label(scored, probabilities, _chosen(probabilities, scored.decision))

    def answers(self, logits: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]) -> list[dict[str, Any]]:
        """{"label", "score": the probability of that label, "probabilities": {label: probability}} for each row."""
        probabilities = self.probabilities(logits)
        return [
            {
                "label": labels[chosen],
                "score": float(row[chosen]),
                "probabilities": dict(zip(labels, map(float, row), strict=True)),
            }
            for chosen, row in zip(_chosen(probabilities, decision), probabilities, strict=True)
        ]

    def decisions(self, answers: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[str]:
        return [answer["label"] for answer in answers]

    def tflite_output(self, logits: Any) -> Any:
        import tensorflow as tf

        return tf.nn.softmax(logits)

    def logits_from_tflite(self, output: "np.ndarray") -> "np.ndarray":
        import numpy as np

        return np.log(np.maximum(output, SMALLEST))

    def serving_outputs(self, logits: Any, labels: Sequence[str], decision: dict[str, Any]) -> dict[str, Any]:
        """`logits`, `probabilities`, `label` and `score`."""
        import tensorflow as tf

        probabilities = tf.nn.softmax(logits)
        if "threshold" in decision:
            chosen = tf.cast(probabilities[:, 1] >= decision["threshold"], tf.int32)
        else:
            chosen = tf.argmax(logits, -1, output_type=tf.int32)
        return {
            "logits": logits,
            "probabilities": probabilities,
            "label": tf.gather(tf.constant(list(labels)), chosen),
            "score": tf.gather(probabilities, chosen, batch_dims=1),
        }


def _fit_inputs(network: "keras.Model", head: Any, tokens: "TokenRows", targets: "np.ndarray") -> None:
    """Set the weights of a head's fitted inputs, and its biases, to those of a logistic regression on these rows."""
    import keras
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from tfhub_ft.models.forward import logits_function

    if len(np.unique(targets)) < 2:
        return
    inputs = logits_function(keras.Model(network.input, head.input))(tokens)[:, -head.fitted_inputs :]
    scale = inputs.std(0) + 1e-6
    fitted = LogisticRegression().fit(inputs / scale, targets)
    coefficients, intercepts = fitted.coef_ / scale, fitted.intercept_
    if len(fitted.classes_) == 2:
        coefficients, intercepts = (np.concatenate([-each, each]) / 2 for each in (coefficients, intercepts))
    kernel, bias = head.dense.get_weights()
    kernel[-head.fitted_inputs :, fitted.classes_] = coefficients.T
    bias[fitted.classes_] = intercepts
    head.dense.set_weights([kernel, bias])


def _check_two_labels(labels: Sequence[str], settings: "Settings", best: str, source: str) -> None:
    needs_two = ("positive_label", "wanted_precision")
    asked = next((name for name in needs_two if getattr(settings, name, None)), None)
    if len(labels) == 2 or (asked is None and best != "roc_auc"):
        return
    what = f"--{asked.replace('_', '-')} needs two" if asked else "this recipe tells two apart"
    raise InputError(f"{source}: there are {len(labels)} labels ({listed(labels)}), and {what}")


def _chosen(probabilities: "np.ndarray", decision: dict[str, Any]) -> "np.ndarray":
    """The index of each row's label, int (rows,)."""
    if "threshold" in decision:
        return (probabilities[:, 1] >= decision["threshold"]).astype(int)
    return probabilities.argmax(-1)


def balanced_weights(targets: "np.ndarray") -> list[float]:
    """A weight for each class, so that all classes count the same and the mean weight of a row is one."""
    import numpy as np

    counts = np.bincount(targets[targets >= 0])
    return (counts.sum() / (len(counts) * counts)).tolist()
