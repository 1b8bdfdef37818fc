"""The base class of tasks."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from tfhub_ft.data.columns import Column, text_column, to_nfc
from tfhub_ft.data.labels import find_label, format_labels
from tfhub_ft.data.rows import Row
from tfhub_ft.metrics import Scores
from tfhub_ft.utils.errors import InputError, did_you_mean
from tfhub_ft.utils.imports import imported

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from tfhub_ft.data.batches import TokenRows

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

Array: TypeAlias = "np.ndarray"
# Arrays for most tasks, lists with an entry for each row for others.
Logits: TypeAlias = Any
Targets: TypeAlias = Any
Thresholds = dict[str, Any]
Segments = tuple[str, ...]
Prediction = dict[str, Any]
Tensors: TypeAlias = "dict[str, tf.Tensor]"
Arrays: TypeAlias = "Mapping[str, np.ndarray]"


class Task:
    """The kind of prediction that a recipe learns.

    A subclass is a frozen dataclass that overrides the hooks below: which columns it reads, what its labels and
    targets are, how logits are scored and how they become predictions.

    Attributes:
        name: Name of the task in exports and in `TASKS`.
        monitor: Validation score that selects the best epoch, unless the setting `monitor` names another.
        monitors: Validation scores that may do so.
        epoch_scores: Scores logged after each epoch.
        primary_metric: Score that an export must keep; None if predictions are neither right nor wrong.
        fields: Text segments of a row, such as ("text",) or ("sentence1", "sentence2").
        label_column: Column of the labels: "label", "labels" or "tags"; None without labels.
        stratified: Whether splits are stratified by `stratify_key`.
        grouped_by: Rows that stay in the same split: those with equal training inputs ("inputs"), or with an equal last
            prediction input ("last input").
        labels_without_logit: Number of labels, at the end, without a logit.
        has_classes: Whether `build_model` takes `num_classes`.
        example_unit: What a batch consists of: "rows", or the "windows" of long rows.
        reads_all_words: Whether training reads embeddings of tokens that no row contains.
        scored_in_float32: Whether scores are always computed in float32.
        keeps_encoder: Whether the run folder is also an encoder folder for `--encoder`.
        output_activation: "softmax" or "sigmoid" if logits become probabilities, which are then calibrated.
        decision_field: Field of a prediction that is right or wrong; None if predictions are numbers.
        display_fields: Fields of a prediction in a one-line summary; None for all plain fields.
        rows_at_once: Rows of a file predicted before the first prediction is written.
        plugin: Module with the parts of other packages that only this task needs.

    Example:
        @dataclass(frozen=True)
        class Topics(Classification):
            monitor: str = "f1_macro"
    """

    name: str
    monitor: str
    monitors: tuple[str, ...] = ()
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

    # Data. `settings` is of the recipe's own class, which has the options that the task reads.

    def columns(self, settings: Any = None, *, labeled: bool = True) -> list[Column]:
        """Return the columns to read, without those of the labels for a prediction (`labeled=False`)."""
        if len(self.fields) == 1:
            return [text_column("text", TEXT_ALIASES, settings, "text_column")]
        return [
            text_column("sentence1", FIRST_ALIASES, settings, "first_column"),
            text_column("sentence2", SECOND_ALIASES, settings, "second_column"),
        ]

    def training_inputs(self, row: Row) -> Segments:
        """Return the text segments that the model reads in training."""
        return self.prediction_inputs(row)

    def prediction_inputs(self, row: Row) -> Segments:
        """Return the text segments that a prediction reads."""
        return tuple(row.values[field] for field in self.fields)

    def stratify_key(self, row: Row) -> tuple[str, ...]:
        """Return the labels by which rows are counted and splits are stratified."""
        return ()

    def labels(self, rows: Sequence[Row], source: str, settings: Any) -> list[str]:
        """Return the labels of the training rows in the order of the logits, or raise an InputError."""
        raise NotImplementedError

    def continued_labels(self, earlier: Sequence[str], labels: Sequence[str], source: str, settings: Any) -> list[str]:
        """Return the labels of a run that continues from another one: its labels in their order, then the new ones."""
        count = len(earlier) - self.labels_without_logit
        known = {*map(to_nfc, earlier)}
        return [*earlier[:count], *(label for label in labels if label not in known), *earlier[count:]]

    def targets(self, rows: Sequence[Row], labels: Sequence[str], source: str) -> Targets:
        """Return the targets that `metrics` takes; a label that is not in `labels` counts as wrong."""
        raise NotImplementedError

    # Model

    def balanced_weights(self, targets: Targets, labels: Sequence[str]) -> list[float]:
        """Return a weight for each label, so that frequent labels of the training targets do not outweigh rare ones."""
        raise InputError(f"--class-weight balanced: not available for the task {self.name}; pass a file of weights")

    def encode(self, preprocessor: Any, inputs: Sequence[Segments]) -> "TokenRows":
        """Return the tokens of training inputs."""
        from tfhub_ft.data.batches import tokenize

        return tokenize(preprocessor, inputs)

    def token_targets(self, tokens: Any, targets: Targets) -> Any:
        """Return the targets of the loss, one for each row of `tokens`."""
        return targets

    def make_score_fn(self, model: "keras.Model", precision: str = "float32") -> Callable[[Any], Logits]:
        """Return a function from tokens to the logits that `metrics` takes, computed with a text-in model.

        The function is traced by its first call, so it is invalid after a change of the shapes of the weights.
        `precision` is the compute dtype of matrix products.
        """
        from tfhub_ft.models.frozen_features import make_score_fn

        return make_score_fn(model.get_layer("token_model"), precision)

    def inference_model(self, model: "keras.Model", labels: Sequence[str]) -> "keras.Model":
        """Return the text-in model that a run saves, made from the trained one."""
        return model

    # Output

    def fit_thresholds(self, logits: Logits, targets: Targets, labels: Sequence[str], settings: Any) -> Thresholds:
        """Return the thresholds that turn logits into predictions, chosen on validation rows."""
        return {}

    def metrics(
        self,
        logits: Logits,
        targets: Targets,
        labels: Sequence[str],
        thresholds: Thresholds,
        *,
        intervals: bool = False,
    ) -> Scores:
        """Return the scores of logits, with 95% confidence intervals as "intervals" if asked for."""
        raise NotImplementedError

    def serving_outputs(self, logits: "tf.Tensor", labels: Sequence[str], thresholds: Thresholds) -> Tensors:
        """Return the outputs of the signature `tokens` by name, `logits` included."""
        raise NotImplementedError

    def serving_fn(
        self, model: "keras.Model", segments: "Sequence[tf.Tensor]", labels: Sequence[str], thresholds: Thresholds
    ) -> Tensors:
        """Return the outputs of the signature `serving_default` for string tensors (batch,), one for each field."""
        texts = list(segments) if len(segments) > 1 else segments[0]
        return self.serving_outputs(model(texts, training=False), labels, thresholds)

    def decode_serving_outputs(
        self, outputs: Arrays, rows: Sequence[Segments], labels: Sequence[str], thresholds: Thresholds
    ) -> list[Prediction]:
        """Return a prediction for each row from the logits, or from the outputs of `serving_fn`."""
        raise NotImplementedError

    def probabilities(self, logits: Array) -> Array:
        """Return the probabilities of logits, float64 (rows, labels)."""
        from tfhub_ft.metrics.calibration import probabilities_of

        return probabilities_of(logits, self.output_activation or "softmax")


def load_task(name: str) -> Task:
    """Return the task with this name in `TASKS`."""
    return imported(TASKS[name])()


def described_task(described: Mapping[str, Any], path: Path) -> Task:
    """Return the task of an export, with the fields of its recipe."""
    if described["task"] not in TASKS:
        raise InputError(f"{path}: unknown task {described['task']!r} (known: {', '.join(TASKS)}); pass its run")
    task = load_task(described["task"])
    object.__setattr__(task, "fields", tuple(described["inputs"]))
    return task


def num_classes(task: Task, labels: Sequence[str]) -> int | None:
    """Return the number of classes that `build_model` takes; None if it takes none."""
    return len(labels) - task.labels_without_logit if task.has_classes else None


def monitor_of(task: Task, name: str | None) -> str:
    """Return the validation score that selects the best epoch: the named one, or that of the task.

    "loss" is the log loss or, for tasks without one, the perplexity or the root mean squared error.
    """
    if name is None:
        return task.monitor
    known = list(dict.fromkeys((*task.monitors, *task.epoch_scores, task.monitor)))
    losses = [each for each in ("log_loss", "perplexity", "root_mean_squared_error") if each in known]
    if name == "loss" and losses:
        return losses[0]
    if name not in known:
        hint = did_you_mean(name, known)
        raise InputError(
            f"--monitor {name}: not a score of this recipe; choose one of {', '.join(known)}{hint and f'; {hint}'}"
        )
    return name


def weights_of_labels(
    task: Task, class_weight: str | Mapping[str, float], labels: Sequence[str], targets: Targets
) -> list[float] | None:
    """Return the class weights of a loss, one for each label, in their order; None for equal weights.

    In a mapping, the weight of an entity type applies to its tags. Labels that it lacks have the weight 1.
    """
    if class_weight == "none":
        return None
    if isinstance(class_weight, str):
        return task.balanced_weights(targets, labels)
    keys = {label: [label, label[2:]] if task.label_column == "tags" else [label] for label in labels}
    known = dict.fromkeys(key for names in keys.values() for key in reversed(names) if key)
    by_key: dict[str, float] = {}
    for name, weight in class_weight.items():
        key = find_label(name, known)
        if key is None:
            hint = did_you_mean(name, known)
            raise InputError(
                f"--class-weight: label {name!r} not found in the training rows; the labels are"
                f" {format_labels(list(known))}{hint and f'; {hint}'}"
            )
        if key in by_key:
            raise InputError(f"--class-weight: label {key!r} has two weights; remove one")
        by_key[key] = weight
    weights = [next((by_key[key] for key in names if key in by_key), 1.0) for names in keys.values()]
    if not any(weights):
        raise InputError("--class-weight: the weight of every label is 0; at least one must be above 0")
    return weights


def decisions(task: Task, predictions: Sequence[Prediction], labels: Sequence[str]) -> list[Any]:
    """Return the parts of predictions that are right or wrong, in one list; empty if predictions are numbers."""
    if task.decision_field is None:
        return []
    values = [prediction[task.decision_field] for prediction in predictions]
    if task.output_activation == "sigmoid":
        return [label in predicted for predicted in values for label in labels]
    return [each for value in values for each in (value if isinstance(value, list) else [value])]


def share_equal(decisions: Sequence[object], expected: Sequence[object]) -> float | None:
    """Return the share of equal decisions; None if predictions are numbers."""
    if not expected:
        return None
    if len(decisions) != len(expected):
        return 0.0
    return sum(one == other for one, other in zip(decisions, expected, strict=True)) / len(expected)


def default_thresholds(task: Task, labels: Sequence[str]) -> Thresholds:
    """Return the thresholds of a model that predicts the most frequent labels."""
    if task.output_activation == "sigmoid":
        return {"thresholds": [0.5] * len(labels)}
    return {"threshold": 1.0} if task.labels_without_logit else {}


def load_plugin(task: Task) -> ModuleType | None:
    """Return the module that the task names as its plugin."""
    return importlib.import_module(task.plugin) if task.plugin else None
