"""The base of tasks: the hooks that say what kind of prediction is learned."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.columns import Column, check_text
from tfhub_ft.data.rows import Row
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.imports import imported

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.data.batches import TokenRows
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

TEXT_ALIASES = ("sentence", "review", "content", "message", "comment", "tweet", "body", "url")
FIRST_ALIASES = ("premise", "question1", "text1", "text_a", "first", "#1 String", "query", "prompt")
SECOND_ALIASES = ("hypothesis", "question2", "text2", "text_b", "second", "#2 String", "sentence", "reply")


def load_task(name: str) -> "Task":
    """Return the task of that name, as an export names it, with its defaults."""
    return imported(TASKS[name])()


def described_task(described: dict[str, Any], path: Path) -> "Task":
    """Return the task of the export at this path, with the fields that its recipe named.

    Raises:
        InputError: the task is not one of `TASKS`.
    """
    if described["task"] not in TASKS:
        raise InputError(f"{path}: its task {described['task']!r} is not one of {', '.join(TASKS)}: predict by its run")
    task = load_task(described["task"])
    object.__setattr__(task, "fields", tuple(described["inputs"]))
    return task


class Task:
    """What kind of prediction is learned. A subclass is a frozen dataclass that overrides the hooks below.

    Attributes:
        name: the name by which exports and `TASKS` know the task.
        monitor: the validation score that selects the best epoch.
        epoch_scores: the scores that are printed after each epoch.
        primary_metric: the score that an export must keep; None where predictions are not right or wrong.
        fields: the text segments of a row, such as ("text",) or ("sentence1", "sentence2").
        label_column: the column with a row's labels: "label", "labels" or "tags" (BIO); None without labels.
        stratified: whether a split keeps the shares of `stratify_key`.
        grouped_by: "inputs" where a split keeps rows together whose training inputs are equal, "last input" where it
            does so by the last of their prediction inputs.
        labels_without_logit: how many of the last labels have no logit.
        has_classes: whether `build_model` takes `num_classes`.
        example_unit: what a batch consists of: rows, or the windows of long rows.
        reads_all_words: whether training reads embeddings of words that no row contains.
        scored_in_float32: whether scores are computed in float32, whatever a run's precision is.
        keeps_encoder: whether a run folder is an encoder for `--encoder`.
        output_activation: "softmax" or "sigmoid", which turns logits into probabilities, which are then calibrated;
            None where logits are not probabilities.
        decision_field: the field of a prediction that is right or wrong; None where predictions are numbers.
        display_fields: the fields of a prediction that one line shows; None for all plain ones.
        rows_at_once: how many rows of a file are predicted before the first prediction is written.
        plugin: the module with what only this task needs of other rooms; see `tfhub_ft.language_models.plugin`.
    """

    name: str
    monitor: str
    epoch_scores: tuple[str, ...] = ()
    primary_metric: str | None = None
    fields: tuple[str, ...] = ("text",)
    label_column: str | None = None
    stratified = True
    grouped_by = "inputs"
    labels_without_logit = 0
    has_classes = False
    example_unit = "rows"
    reads_all_words = False
    scored_in_float32 = True
    keeps_encoder = False
    output_activation: str | None = None
    decision_field: str | None = None
    display_fields: tuple[str, ...] | None = None
    rows_at_once = 4096
    plugin: str | None = None

    # Data

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        """Return the columns that rows are read from.

        Args:
            settings: name columns of the user's file.
            labeled: False for the columns of the text segments alone, which are all that a prediction reads.
        """

        def named(option: str) -> tuple[str | None, str]:
            return getattr(settings, option, None), "--" + option.replace("_", "-")

        if len(self.fields) == 1:
            return [Column("text", TEXT_ALIASES, check_text, *named("text_column"))]
        return [
            Column("sentence1", FIRST_ALIASES, check_text, *named("first_column")),
            Column("sentence2", SECOND_ALIASES, check_text, *named("second_column")),
        ]

    def training_inputs(self, row: Row) -> tuple[str, ...]:
        """Return the text segments that the model reads in training."""
        return self.prediction_inputs(row)

    def prediction_inputs(self, row: Row) -> tuple[str, ...]:
        """Return the text segments that a prediction reads."""
        return tuple(row.values[field] for field in self.fields)

    def stratify_key(self, row: Row) -> tuple[str, ...]:
        """Return the labels by which rows are counted and splits are stratified; none where rows are unlabeled."""
        return ()

    def labels(self, rows: Sequence[Row], source: str, settings: "Settings") -> list[str]:
        """Return the labels of the training rows, in the order of the logits.

        Raises:
            InputError: the rows cannot be learned from.
        """
        raise NotImplementedError

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> Any:
        """Return the targets that `metrics` takes, an array or a list with an entry for each row.

        A label that is not one of `labels` gets a target that no prediction equals, so that its row counts as wrong.
        """
        raise NotImplementedError

    # Model

    def encode(self, preprocessor: Any, inputs: Sequence[tuple[str, ...]]) -> "TokenRows":
        """Return the tokens of training inputs."""
        from tfhub_ft.data.batches import tokenize

        return tokenize(preprocessor, inputs)

    def token_targets(self, tokens: "TokenRows", targets: Any) -> Any:
        """Return the targets as the loss takes them, an entry for each row of `tokens`."""
        return targets

    def make_score_fn(self, model: "keras.Model", precision: str = "float32") -> Callable[["TokenRows"], Any]:
        """Return a function from tokens to what `metrics` takes, for most tasks logits, float32 (rows, ...).

        Args:
            model: the text-in model. The function is traced when it is first called, so it must not outlive a change of
                the shapes of the weights.
            precision: the compute dtype of matrix products: "float32", "bfloat16" or "float16".
        """
        from tfhub_ft.models.frozen_features import make_score_fn

        return make_score_fn(model.get_layer("token_model"), precision)

    def inference_model(self, model: "keras.Model", labels: Sequence[str]) -> "keras.Model":
        """Return the text-in model that a run keeps, made from the trained one."""
        return model

    # Output

    def fit_thresholds(
        self, logits: "np.ndarray", targets: "np.ndarray", labels: Sequence[str], settings: "Settings"
    ) -> dict[str, Any]:
        """Return the thresholds that turn logits into predictions, chosen on validation rows."""
        return {}

    def metrics(
        self,
        logits: Any,
        targets: Any,
        labels: Sequence[str],
        thresholds: dict[str, Any],
        *,
        intervals: bool = False,
    ) -> dict[str, Any]:
        """Return the scores of logits; with `intervals`, their 95% confidence intervals too, as "intervals"."""
        raise NotImplementedError

    def serving_outputs(self, logits: Any, labels: Sequence[str], thresholds: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs of the signature `tokens`, tensors by name; `logits` is one of them."""
        raise NotImplementedError

    def serving_fn(
        self, model: "keras.Model", segments: Sequence[Any], labels: Sequence[str], thresholds: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the outputs of the signature `serving_default` for string tensors (batch,), one for each field."""
        texts = list(segments) if len(segments) > 1 else segments[0]
        return self.serving_outputs(model(texts, training=False), labels, thresholds)

    def decode_serving_outputs(
        self,
        outputs: "dict[str, np.ndarray]",
        rows: Sequence[tuple[str, ...]],
        labels: Sequence[str],
        thresholds: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Return a prediction for each row of segments, from the logits or what else `serving_fn` returned."""
        raise NotImplementedError


def num_classes(task: Task, labels: Sequence[str]) -> int | None:
    """Return the number of classes that `build_model` takes; None where the task has none."""
    return len(labels) - task.labels_without_logit if task.has_classes else None


def decisions(task: Task, predictions: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[Any]:
    """Return what of predictions is right or wrong, in one list; none where predictions are numbers."""
    if task.decision_field is None:
        return []
    values = [prediction[task.decision_field] for prediction in predictions]
    if task.output_activation == "sigmoid":
        return [label in chosen for chosen in values for label in labels]
    return [each for value in values for each in (value if isinstance(value, list) else [value])]


def default_thresholds(task: Task, labels: Sequence[str]) -> dict[str, Any]:
    """Return the thresholds by which a model that knows only the shares of the labels predicts the most frequent."""
    if task.output_activation == "sigmoid":
        return {"thresholds": [0.5] * len(labels)}
    return {"threshold": 1.0} if task.labels_without_logit else {}


def load_plugin(task: Task) -> Any:
    """Return the module that the task names as its plugin; None where it names none."""
    return importlib.import_module(task.plugin) if task.plugin else None
