"""Any number of labels for each row."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_labels, columns_of_flags
from tfhub_ft.data.label_cells import fit_labels
from tfhub_ft.data.labels import label_index
from tfhub_ft.data.rows import Row
from tfhub_ft.tasks.base import Task
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.batches import TokenRows
    from tfhub_ft.evaluation.report.html_report import Scored
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
    tflite_output_name = "probabilities"
    output_activation = "sigmoid"

    def columns(self, settings: "Settings") -> list[Column]:
        labels = Column(
            "labels",
            LABELS_ALIASES,
            check_labels,
            settings.labels_column,
            "--labels-column",
            several=True,
            fit=partial(fit_labels, separator=settings.label_separator),
            hint=columns_of_flags,
        )
        return [*self.text_columns(settings), labels]

    def stratify_key(self, row: Row) -> list[str]:
        return sorted(row.values["labels"])

    def label_counts_key(self, row: Row) -> set[str]:
        return {*row.values["labels"]}

    def known_labels(self, labels: Sequence[str]) -> set[str]:
        return set(label_index(labels))

    def without_labels(self, row: Row, dropped: Collection[str]) -> Row:
        kept = tuple(label for label in row.values["labels"] if label not in dropped)
        return Row(row.line, {**row.values, "labels": kept})

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

    def compile_arguments(self, settings: "Settings", targets: "np.ndarray") -> dict[str, Any]:
        import keras

        return {"loss": keras.losses.BinaryCrossentropy(from_logits=True), "metrics": []}

    def initialize(
        self, network: "keras.Model", tokens: "TokenRows", targets: "np.ndarray", settings: "Settings"
    ) -> None:
        """Start each label at its share of the training rows (Lin et al. 2017, https://arxiv.org/abs/1708.02002).

        Otherwise the first thousand steps teach the encoder that rare labels are rare.
        """
        import numpy as np

        from tfhub_ft.models.heads import ClassificationHead

        share = (targets[:, :-1].sum(0) + 1) / (len(targets) + 2)
        for layer in network.layers:
            if isinstance(layer, ClassificationHead):
                layer.dense.bias.assign(np.log(share / (1 - share)))

    def fit_thresholds(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], settings: "Settings"
    ) -> dict[str, Any]:
        """A threshold a label: the one with the best F1 on these rows."""
        from tfhub_ft.metrics.thresholds import thresholds_for_f1

        return {"thresholds": thresholds_for_f1(self.probabilities(logits), targets[:, : len(labels)])}

    def metrics(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        from tfhub_ft.metrics.scores import multilabel_metrics

        return multilabel_metrics(self.probabilities(logits), targets, labels, decision["thresholds"])

    def intervals(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, tuple[float, float]]:
        from tfhub_ft.metrics.intervals import multilabel_intervals

        return multilabel_intervals(self.probabilities(logits), targets, decision["thresholds"])

    def baseline(
        self, label_rows: Mapping[str, int], train_rows: int, rows: int, labels: Sequence[str]
    ) -> "np.ndarray":
        import numpy as np
        from scipy.special import logit

        shares = np.array([label_rows.get(label, 0) / train_rows for label in labels])
        return np.tile(logit(shares.clip(1e-7, 1 - 1e-7)), (rows, 1))

    def decide_baseline(self, labels: Sequence[str]) -> dict[str, Any]:
        return {"thresholds": [0.5] * len(labels)}

    def correctness(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> "tuple[list[str], np.ndarray]":
        import numpy as np

        from tfhub_ft.evaluation.report.classification_report import names_of

        given = self.probabilities(logits) >= np.array(decision["thresholds"])
        right = (given == (targets[:, : len(labels)] > 0)).all(-1) & ~targets[:, len(labels) :].any(-1)
        return [names_of(labels, row) for row in given], right

    def report(self, scored: "Scored") -> list[Any]:
        from tfhub_ft.evaluation.report.classification_report import of_many_labels

        return of_many_labels(scored, self.probabilities(scored.logits))

    def answers(self, logits: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]) -> list[dict[str, Any]]:
        """{"labels": those at or above their threshold, likeliest first, "probabilities"} for each row."""
        answers = []
        for row in self.probabilities(logits):
            chosen = [i for i in row.argsort()[::-1] if row[i] >= decision["thresholds"][i]]
            probabilities = dict(zip(labels, map(float, row), strict=True))
            answers.append({"labels": [labels[i] for i in chosen], "probabilities": probabilities})
        return answers

    def decisions(self, answers: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[bool]:
        return [label in answer["labels"] for answer in answers for label in labels]

    def tflite_output(self, logits: Any) -> Any:
        import tensorflow as tf

        return tf.sigmoid(logits)

    def logits_from_tflite(self, output: "np.ndarray") -> "np.ndarray":
        from scipy.special import logit

        return logit(output.astype("float64").clip(1e-7, 1 - 1e-7)).astype("float32")

    def serving_outputs(self, logits: Any, labels: Sequence[str], decision: dict[str, Any]) -> dict[str, Any]:
        """`logits`, `probabilities`, `chosen` (bool, by label) and `labels` (the names, "" where not chosen)."""
        import tensorflow as tf

        probabilities = tf.sigmoid(logits)
        chosen = probabilities >= tf.constant(decision["thresholds"], probabilities.dtype)
        names = tf.where(chosen, tf.constant(list(labels)), "")
        return {"logits": logits, "probabilities": probabilities, "chosen": chosen, "labels": names}
