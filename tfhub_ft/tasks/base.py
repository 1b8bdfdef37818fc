"""What every task tells the framework: its rows, its loss, its scores and its answers."""

import importlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.labels import listed_counts
from tfhub_ft.data.rows import Row
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.batches import TokenRows
    from tfhub_ft.evaluation.report.html_report import Scored
    from tfhub_ft.run import Run
    from tfhub_ft.settings import Settings

TASKS = {
    "classification": "tfhub_ft.tasks.classification.Classification",
    "intent": "tfhub_ft.tasks.intent.Intent",
    "entities": "tfhub_ft.tasks.token_classification.TokenClassification",
    "masked_words": "tfhub_ft.tasks.masked_lm.MaskedLM",
    "dialogue": "tfhub_ft.language_models.task.Dialogue",
    "multilabel": "tfhub_ft.tasks.multilabel.Multilabel",
    "retrieval": "tfhub_ft.tasks.retrieval.Retrieval",
    "regression": "tfhub_ft.tasks.regression.Regression",
    "spans": "tfhub_ft.tasks.question_answering.QuestionAnswering",
}

# Targets that are not the index of a label: of a row that belongs to none of the labels, and of a row whose label no
# training row has.
OUT_OF_SCOPE, UNSEEN = -1, -2

TEXT_ALIASES = ("sentence", "review", "content", "message", "comment", "tweet", "body", "url")
FIRST_ALIASES = ("premise", "question1", "text1", "text_a", "first", "#1 String", "query", "prompt")
SECOND_ALIASES = ("hypothesis", "question2", "text2", "text_b", "second", "#2 String", "sentence", "reply")


def load_task(name: str) -> "Task":
    """The task of that name, as an export names it, with its defaults."""
    module, _, kind = TASKS[name].rpartition(".")
    return getattr(importlib.import_module(module), kind)()


def described_task(described: dict[str, Any], path: Path) -> "Task":
    """The task that an export at this path says it answers; its fields are what the recipe calls the segments.

    Raises:
        InputError: it is a task of somebody's own.
    """
    if described["task"] not in TASKS:
        raise InputError(f"{path}: its task {described['task']!r} is not one of {', '.join(TASKS)}: predict by its run")
    task = load_task(described["task"])
    object.__setattr__(task, "fields", tuple(described["inputs"]))
    return task


def never_predicted(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A warning of the labels that rows have and a model never predicts; none where all labels are predicted.

    Args:
        scores: of held-out splits, each with a "per_class" that has the "rows" and the "predicted" rows of each label.
    """
    rows, predicted = Counter(), Counter()
    for split in scores.values():
        for label, each in split.get("per_class", {}).items():
            rows[label] += each["rows"]
            predicted[label] += each.get("predicted", 0)
    missed = {label: count for label, count in rows.most_common() if count and not predicted[label]}
    if not missed:
        return []
    where = " and ".join(scores)
    found = [label for label, count in predicted.items() if count]
    if not found:
        return [f"the model predicts no label for any of the {where} rows; train it longer, or on more rows"]
    if len(found) == 1:
        return [f"the model predicts {found[0]!r} for all {where} rows; train it longer, or on more rows"]
    return [f"labels that the model never predicts, with their {where} rows: {listed_counts(missed)}"]


class Task:
    """What kind of answer is learnt. Each task is a frozen dataclass that says the following.

    `name` is written into exports, `measure` is the score that an export must keep (None where answers have no truth),
    `best` is the validation score that chooses the epoch, `epoch_scores` are those that are printed after each epoch,
    and `fields` are the segments of text that a row has: ("text",) or ("sentence1", "sentence2"). `unit` is what a
    batch is made of: rows, or the windows of long rows.
    `answered_at_once` is how many rows of a file are answered before the first answer is given. `said` are the parts of
    an answer that a line on the screen has; None for all that are plain. `reads_all_words` is whether training reads
    embeddings of words that no row has. `link` makes probabilities of logits, "softmax" or "sigmoid": they are
    calibrated then; None where they are none.
    """

    name: str
    monitor: str
    epoch_scores: tuple[str, ...] = ()
    primary_metric: str | None = None
    tflite_output_name = "logits"
    fields: tuple[str, ...] = ("text",)
    example_unit = "rows"
    answered_at_once = 4096
    display_fields: tuple[str, ...] | None = None
    reads_all_words = False
    output_activation: str | None = None

    def columns(self, settings: "Settings") -> list[Column]:
        """The columns that rows are read from."""
        raise NotImplementedError

    def text_columns(self, settings: "Settings | None" = None) -> list[Column]:
        """The columns of the segments alone, which is all that a prediction reads."""

        def named(option: str) -> tuple[str | None, str]:
            return getattr(settings, option, None), "--" + option.replace("_", "-")

        if len(self.fields) == 1:
            return [Column("text", TEXT_ALIASES, check_text, *named("text_column"))]
        return [
            Column("sentence1", FIRST_ALIASES, check_text, *named("first_column")),
            Column("sentence2", SECOND_ALIASES, check_text, *named("second_column")),
        ]

    def check_row(self, values: dict[str, Any]) -> None:
        """Raise a ValueError where the values of a row do not fit together; its message reads well behind the line."""

    def training_inputs(self, row: Row) -> tuple[str, ...]:
        """The segments of text that the model reads in training."""
        return self.prediction_inputs(row)

    def prediction_inputs(self, row: Row) -> tuple[str, ...]:
        """The segments of text that a prediction reads."""
        return tuple(row.values[field] for field in self.fields)

    def group_key(self, row: Row) -> str:
        """The text by which a split keeps rows together."""
        return "\n".join(self.training_inputs(row))

    def stratify_key(self, row: Row) -> str | Sequence[str] | None:
        """The label or the labels that a split is stratified by; None where rows are unlabeled."""
        return None

    def label_counts_key(self, row: Row) -> set[str]:
        """What rows are counted by: labels, or what else rows differ in that a model has to learn."""
        return {self.stratify_key(row)} - {None}

    def known_labels(self, labels: Sequence[str]) -> set[str]:
        """Return the labels by the names of `label_counts_key`; empty where predictions are not labels."""
        return set()

    def without_labels(self, row: Row, dropped: Collection[str]) -> Row | None:
        """A row without some of the labels that `label_counts_key` names; None where it has to be left out."""
        return row

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """What the training rows say that answers are made of, in the order of the logits.

        Raises:
            InputError: the rows cannot be learnt from.
        """
        raise NotImplementedError

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> Any:
        """The targets that `metrics` takes, an array or a list with an entry for each row.

        A label that is not one of `labels` has a target that no prediction equals, so that its row counts as wrong.
        """
        raise NotImplementedError

    def model_arguments(self, labels: Sequence[str]) -> dict[str, Any]:
        """What a recipe's `build_model` must know of the labels."""
        return {"num_classes": len(labels)}

    def compile_arguments(self, settings: "Settings", targets: "np.ndarray") -> dict[str, Any]:
        """The loss and the metrics that `compile` takes, for these training targets."""
        raise NotImplementedError

    def initialize(
        self, network: "keras.Model", tokens: "TokenRows", targets: "np.ndarray", settings: "Settings"
    ) -> None:
        """Set the weights of an untrained head that follow from the training rows."""

    def encode(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> "TokenRows":
        """The token ids of what `inputs` gave."""
        from tfhub_ft.data.batches import tokenize

        return tokenize(preprocessor, inputs)

    def token_targets(self, tokens: "TokenRows", targets: Any) -> Any:
        """The targets as the loss takes them, an entry for each row of `tokens`."""
        return targets

    def scorer(self, model: "keras.Model") -> Callable[["TokenRows"], Any]:
        """A function from tokenized rows to what `fit_thresholds`, `metrics` and `answers` take, an entry for each row.

        For most tasks that is the logits, float32 (rows, ...). The function is traced when it is first called, so it
        must not outlive a change of the weights' shapes.
        """
        from tfhub_ft.models.frozen_features import scorer_of

        return scorer_of(self.scored_network(model))

    def row_logits(self, model: "keras.Model", tokens: "TokenRows") -> Any:
        """What `scorer` returns for these rows."""
        return self.scorer(model)(tokens)

    def probabilities(self, logits: "np.ndarray") -> "np.ndarray":
        """The probabilities of logits by the task's link, (rows, classes), in float64."""
        from tfhub_ft.metrics.calibration import probabilities_of

        return probabilities_of(logits, self.output_activation)

    def scored_network(self, model: "keras.Model") -> "keras.Model":
        """The part of a model, from tokens on, whose outputs `metrics` takes."""
        return model.get_layer("token_model")

    def answering_model(self, model: "keras.Model", labels: Sequence[str]) -> "keras.Model":
        """The text-in model that a run keeps and answers by, made of the trained one."""
        return model

    def keep(self, run: "Run", model: "keras.Model") -> None:
        """Write what else a finished run keeps beside its model."""

    def fit_thresholds(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], settings: "Settings"
    ) -> dict[str, Any]:
        """The thresholds that turn logits into answers, chosen on validation rows; kept with the run."""
        return {}

    def metrics(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        """The scores of logits against targets."""
        raise NotImplementedError

    def intervals(
        self, logits: Any, targets: Any, labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, tuple[float, float]]:
        """The 95% confidence intervals of the scores that `metrics` returns, by name."""
        return {}

    def baseline(self, label_rows: Mapping[str, int], train_rows: int, rows: int, labels: Sequence[str]) -> Any:
        """Logits of `rows` rows that predict the training rows' shares of the labels for each; None without labels.

        Args:
            label_rows: the training rows of each label, by the names of `label_counts_key`.
            train_rows: the training rows.
            rows: how many rows.
            labels: the labels, in the order of the logits.
        """
        return None

    def held_out_scores(
        self,
        logits: Any,
        targets: Any,
        labels: Sequence[str],
        decision: dict[str, Any],
        train: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What `metrics` returns, with the "intervals" of the scores, and the "baseline": scores of the label shares.

        Args:
            logits, targets, labels, decision: as for `metrics`.
            train: what metrics.json has of the training rows; where it lacks "label_rows" there is no baseline.
        """
        scores = self.metrics(logits, targets, labels, decision)
        intervals = self.intervals(logits, targets, labels, decision)
        defined = {name: list(ends) for name, ends in intervals.items() if scores.get(name) is not None}
        found = {"intervals": defined} if defined else {}
        label_rows = (train or {}).get("label_rows")
        constant = self.baseline(label_rows, train["rows"], len(targets), labels) if label_rows else None
        if constant is not None:
            constant_decision = self.decide_baseline(labels)
            baseline = self.metrics(constant, targets, labels, constant_decision)
            found["baseline"] = {name: value for name, value in baseline.items() if isinstance(value, float)}
        return {**scores, **found}

    def decide_baseline(self, labels: Sequence[str]) -> dict[str, Any]:
        """The thresholds by which the logits of `baseline` become the most frequent label, or labels."""
        return {}

    def warnings(
        self, scores: Mapping[str, Mapping[str, Any]], labels: Sequence[str], decision: dict[str, Any]
    ) -> list[str]:
        """What is wrong with a finished model, as far as its scores show it; `scores` are those of held-out splits."""
        return never_predicted(scores)

    def correctness(
        self, logits: Any, targets: Any, labels: Sequence[str], decision: dict[str, Any]
    ) -> "tuple[list[str], np.ndarray] | None":
        """The answer to each row in words, and whether it is right, bool (rows,); None where answers are neither."""
        return None

    def report(self, scored: "Scored") -> list[Any]:
        """What a report shows of rows that were answered: `Picture`s and `Listing`s."""
        return []

    def generation_evaluator(
        self, model: "keras.Model", rows: Sequence[Row], seed: int
    ) -> "Callable[[], tuple[dict[str, Any], list[str]]] | None":
        """Of a task whose answers are written freely: further scores of the model as it is when this is called, and its
        answers to some rows. It is called before a training and behind it. None for all other tasks."""
        return None

    def answers(self, logits: "np.ndarray", labels: Sequence[str], decision: dict[str, Any]) -> list[dict[str, Any]]:
        """What logits say, in words: a dictionary a row."""
        raise NotImplementedError

    def decisions(self, answers: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[Any]:
        """What of answers is right or wrong, one behind the other; nothing where answers are numbers."""
        return []

    def make_predict_fn(
        self, model: "keras.Model", labels: Sequence[str], decision: dict[str, Any]
    ) -> Callable[[Sequence[tuple[str, ...]]], list[dict[str, Any]]]:
        """A function from rows of segments to answers, for a text-in model."""
        from tfhub_ft.data.batches import tokenize
        from tfhub_ft.models.forward import logits_function

        preprocessor, logits_of = model.get_layer("preprocessor"), logits_function(model.get_layer("token_model"))
        return lambda rows: self.answers(logits_of(tokenize(preprocessor, rows)), labels, decision)

    def serving_outputs(self, logits: Any, labels: Sequence[str], decision: dict[str, Any]) -> dict[str, Any]:
        """The outputs of the signature `tokens`, as tensors by name; `logits` is one of them."""
        raise NotImplementedError

    def tflite_output(self, logits: Any) -> Any:
        """The one output of a TFLite file, a tensor, which is called `tflite_output_name`."""
        return logits

    def logits_from_tflite(self, output: "np.ndarray") -> "np.ndarray":
        """The logits, up to what answers do not depend on, of what `tflite_output` gave."""
        return output

    def serving_fn(
        self, model: "keras.Model", segments: Sequence[Any], labels: Sequence[str], decision: dict[str, Any]
    ) -> dict[str, Any]:
        """The outputs of the signature `serving_default` for string tensors (batch,), one a field."""
        texts = list(segments) if len(segments) > 1 else segments[0]
        return self.serving_outputs(model(texts, training=False), labels, decision)

    def decode_serving_outputs(
        self,
        outputs: "dict[str, np.ndarray]",
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        decision: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """The same as `answers`, of what `serving_default` gave for these rows of segments."""
        return self.answers(outputs["logits"], labels, decision)
