"""Predict texts with runs and exports."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, overload

from tfhub_ft.data.batches import batches_by_size, tokenize
from tfhub_ft.data.columns import Column
from tfhub_ft.data.rows import ReadOptions
from tfhub_ft.data.texts import TextRow, TextRows
from tfhub_ft.evaluation.explanations import ExplainFn, check_explainable, make_explain_fn
from tfhub_ft.export_folder import check_artifact, read_columns, read_description, versions
from tfhub_ft.inference.batching import PredictFn, Prediction, Segments, make_predict_fn
from tfhub_ft.inference.frames import as_table, column_names, is_frame, with_predictions
from tfhub_ft.inference.runtimes.isolated import IsolatedRuntime
from tfhub_ft.inference.runtimes.model import RuntimeModel
from tfhub_ft.inference.runtimes.preprocessor import saved_preprocessor, tflite_preprocessor
from tfhub_ft.inference.runtimes.saved_model import SavedModelRuntime
from tfhub_ft.inference.runtimes.tflite import TFLiteRuntime, TFLiteTextRuntime
from tfhub_ft.run import Run
from tfhub_ft.settings import PRECISIONS, TEMPLATES, TrainingSettings, option_name
from tfhub_ft.tasks.base import Task, described_task
from tfhub_ft.utils.arguments import check_path, check_texts, check_type, plain_text, type_name
from tfhub_ft.utils.console import warn
from tfhub_ft.utils.errors import InputError, RowError, RunError
from tfhub_ft.utils.precision import resolve_precision
from tfhub_ft.utils.processes import check_not_forked

# Rows explained before the first one is written.
EXPLAINED_AT_ONCE = 64

if TYPE_CHECKING:
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor


class HasColumns(Protocol):
    """A pandas or polars DataFrame, or a pyarrow Table."""

    @property
    def columns(self) -> Any:
        """The columns or their names."""


class HasColumnNames(Protocol):
    """A Hugging Face `Dataset`."""

    @property
    def column_names(self) -> Any:
        """The names of the columns."""


Frame = TypeVar("Frame", bound="HasColumns | HasColumnNames")
Model: TypeAlias = "str | Path | Run | Predictor"
Text: TypeAlias = "str | bytes | tuple[str, ...] | list[str]"


@overload
def predict(
    model: Model, texts: Frame, *, precision: str = ..., explain: bool = ..., **columns: str | None
) -> Frame: ...


@overload
def predict(
    model: Model, texts: Mapping[str, Any], *, precision: str = ..., explain: bool = ..., **columns: str | None
) -> dict[str, Any]: ...


@overload
def predict(
    model: Model,
    texts: Sequence[Mapping[str, Any]],
    *,
    precision: str = ...,
    explain: bool = ...,
    **columns: str | None,
) -> list[dict[str, Any]]: ...


@overload
def predict(
    model: Model, texts: str | bytes | Iterable[Text], *, precision: str = ..., explain: bool = ...
) -> list[Prediction]: ...


def predict(
    model: Model, texts: Any, *, precision: str = "float32", explain: bool = False, **columns: str | None
) -> Any:
    """Predict texts or the rows of a data frame with a run or an export. What `tfhub-ft predict` does.

    Args:
        model: A run, a run folder, an export folder (its newest version is used), a SavedModel folder or a TFLite file;
            or a predictor from `open_predictor`.
        texts: One text, or a list, tuple, generator, NumPy array, pandas Series, string tensor or `tf.data.Dataset` of
            texts, with or without targets; for a recipe that reads pairs, tuples of two texts, or one tuple. Bytes are
            decoded as UTF-8.

            Or rows with named columns: a pandas or polars DataFrame, a pyarrow Table, a Hugging Face `Dataset`, an
            object with the Arrow C stream interface, a dict of columns or a list of dicts.
        precision: Compute dtype of a run; see `open_predictor`.
        explain: Whether to add the words that made each prediction, for runs that predict labels or a number with a
            native encoder: "explanation", a list of {"text", "start", "end", "attribution"}, and "explanation_error".
            An attribution is how much a word raises the log-odds of the predicted label, or the predicted number; the
            error is how much the attributions miss the whole difference.
        **columns: The names of the columns of texts, for rows: `text_column`, or `first_column` and `second_column` of
            a recipe that reads pairs; or their templates: `text`, or `first_text` and `second_text`. By default they
            are found as in a file.

    Returns:
        For texts, one prediction per text, in order. Its keys depend on the task; a classifier returns {"label",
        "score", "probabilities": {label: probability}}.

        For rows, the same kind of object: its columns, in order, and those of the predictions, such as label, score and
        probability_LABEL. Lists, such as entities, are list columns. A pandas frame keeps its index. A row without a
        text has an empty prediction. A column that has the name of one of a prediction becomes input_NAME. Streams
        become a pyarrow Table.

    Raises:
        InputError: The model is not found, a text is missing or empty, no column of the rows has texts, or predictions
            of the model cannot be explained.

    Example:
        tfhub_ft.predict("runs/reviews", "a warm, funny film")[0]["label"]
        tfhub_ft.predict("runs/reviews", "a warm, funny film", explain=True)[0]["explanation"]
        tfhub_ft.predict("runs/pairs", [("It rains.", "The street is wet.")])[0]["label"]
        tfhub_ft.predict("runs/reviews", pandas.read_csv("new.csv"), text_column="review")["label"]

    Reference:
        Integrated gradients: Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365
    """
    check_type("explain", explain, bool, "True or False")
    predictor = model if isinstance(model, Predictor) else open_predictor(model, precision=precision)
    reports = predictor is not model
    predictor = predictor.explaining if explain else predictor
    if is_frame(texts):
        return _predict_frame(predictor, as_table(texts), columns, reports=reports)
    if columns:
        raise InputError(f"{min(columns)}: names a column, but texts is {type_name(texts)}; leave it out")
    if hasattr(type(texts), "element_spec"):
        rows = TextRows(_without_targets(texts, len(predictor.task.fields)), predictor.columns(), keep_columns=False)
        return [*_predicted(predictor, rows, reports=reports)]
    if isinstance(texts, tuple) and len(predictor.task.fields) > 1 and all(isinstance(each, str) for each in texts):
        texts = [texts]
    segments = [
        predictor.segments(text, f"text {number}") for number, text in enumerate(check_texts("texts", texts), 1)
    ]
    rows = (TextRow(f"text {number}", row, row) for number, row in enumerate(segments, 1))
    return [*_predicted(predictor, rows, reports=reports)]


def _predict_frame(predictor: "Predictor", frame: Any, columns: Mapping[str, str | None], *, reports: bool) -> Any:
    text_columns = predictor.columns(**columns)
    if not isinstance(frame, Mapping) and hasattr(type(frame), "__len__") and not len(frame):
        return with_predictions(frame, [predictor.blank])
    rows = TextRows(frame, text_columns, keep_columns=False)
    column_names(frame)
    return with_predictions(frame, _predicted(predictor, rows, reports=reports))


def _without_targets(dataset: Any, count: int) -> Any:
    """Return a `tf.data.Dataset` of (inputs, targets), or of `count` texts and targets, without the targets."""
    spec = dataset.element_spec
    if not isinstance(spec, tuple):
        return dataset
    if count == 1 or isinstance(spec[0], tuple | Mapping):
        return dataset.map(lambda inputs, *_: inputs)
    return dataset.map(lambda *values: values[:count])


def _predicted(predictor: "Predictor", rows: Iterable[TextRow], *, reports: bool) -> Iterator[Prediction]:
    """Yield the predictions of rows, and warn of truncated texts at the end if wanted."""
    segments = []
    for row, prediction in predict_rows(predictor, rows):
        yield prediction
        if reports and row.segments is not None:
            segments.append(row.segments)
    if reports:
        warn_of_truncation(predictor, segments)


def warn_of_truncation(predictor: "Predictor", rows: Sequence[Segments]) -> None:
    """Warn if rows have more tokens than the model reads."""
    if truncated := predictor.truncated_rows(rows):
        warn(f"{truncated:,} of {len(rows):,} texts are {predictor.truncation}")


@dataclass(eq=False, repr=False)
class Predictor:
    """A run or an export, loaded by the first call.

    A predictor is pickled as its path and precision. It cannot be used in a process that was forked after TensorFlow
    started.
    """

    task: Task
    labels: Sequence[str]
    load: Callable[[], PredictFn]
    name: str
    load_preprocessor: "Callable[[], HubPreprocessor | None]"
    settings: TrainingSettings | None = None
    precision: str = "float32"
    trained_columns: Mapping[str, str] = field(default_factory=dict)
    load_explain_fn: Callable[[], ExplainFn] | None = None
    rows_at_once: int = 0
    _loaded_in: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.rows_at_once = self.rows_at_once or self.task.rows_at_once

    def __reduce__(self) -> tuple[Callable[..., "Predictor"], tuple[str]]:
        return partial(open_predictor, precision=self.precision), (self.name,)

    def read_options(self, *, delimiter: str | None, encoding: str | None, header: bool) -> ReadOptions:
        """Return how to read files; the run's delimiter and encoding apply if none is given or detected."""
        usual = {name: getattr(self.settings, name, None) for name in ("delimiter", "encoding")}
        return ReadOptions(delimiter, encoding, header, usual["delimiter"], usual["encoding"])

    def columns(self, **names: str | None) -> list[Column]:
        """Return the columns of rows to predict.

        Args:
            **names: Names of columns, `text_column`, `first_column` and `second_column`, or their templates, `text`,
                `first_text` and `second_text`. By default, those of training are looked for before the usual ones; a
                template of training has to fit.
        """
        given = {name: value for name, value in names.items() if value is not None}
        for column_name, template_name in TEMPLATES.items():
            if {column_name, template_name} <= given.keys():
                options = option_name(template_name), option_name(column_name)
                raise InputError(f"{options[0]}: cannot be combined with {options[1]}; pass one of the two")
        for name, value in given.items():
            check_type(name, value, str, "a str")
            columns = self.task.columns(SimpleNamespace(**{name: value}), labeled=False)
            if not any(column.column or column.template for column in columns):
                usual = ("text_column",) if len(columns) == 1 else ("first_column", "second_column")
                expected = " and ".join(map(option_name, usual))
                raise InputError(f"{option_name(name)}: this model does not read it; name its texts with {expected}")
        trained = self.task.columns(SimpleNamespace(**self.trained_columns), labeled=False)
        columns = self.task.columns(SimpleNamespace(**given), labeled=False)
        return [
            column
            if column.column or column.template
            else replace(column, preferred=usual.column, template=usual.template)
            for column, usual in zip(columns, trained, strict=True)
        ]

    @cached_property
    def _predict_fn(self) -> PredictFn:
        self._loaded_in = os.getpid()
        return self.load()

    def __call__(self, rows: Sequence[Segments]) -> list[Prediction]:
        """Return a prediction for each row of segments."""
        check_not_forked(self.name, self._loaded_in)
        return self._predict_fn(rows) if rows else []

    @cached_property
    def explaining(self) -> "Predictor":
        """A predictor whose predictions have explanations; raises an InputError if there are none."""
        load_explain_fn = self.load_explain_fn
        if load_explain_fn is None:
            raise InputError(f"--explain: {self.name} is an export, which computes no gradients; pass its run")
        check_explainable(self.task, self.settings, self.name)

        def load() -> PredictFn:
            explain = load_explain_fn()

            def predict_and_explain(rows: Sequence[Segments]) -> list[Prediction]:
                predictions = self(rows)
                explanations = explain(rows, predictions)
                return [one | other for one, other in zip(predictions, explanations, strict=True)]

            return predict_and_explain

        return replace(self, load=load, rows_at_once=EXPLAINED_AT_ONCE)

    @cached_property
    def blank(self) -> Prediction:
        """The prediction of a row without a text, which has the keys of any prediction."""
        return _blank(self([("a",) * len(self.task.fields)])[0])

    @cached_property
    def _preprocessor(self) -> "HubPreprocessor | None":
        return self.load_preprocessor()

    @property
    def truncation(self) -> str:
        """What truncated rows are, as warnings describe it."""
        return self._preprocessor.truncation if self._preprocessor else ""

    def truncated_rows(self, rows: Sequence[Segments]) -> int:
        """Return how many rows have more tokens than the model reads."""
        from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
        from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor

        layer = self._preprocessor
        if not isinstance(layer, HubPreprocessor) or isinstance(layer, WindowPreprocessor):
            return 0
        # An ASCII character makes at most one token; others make at most three after Unicode decomposition.
        bounds = [sum(len(text) * (1 if text.isascii() else 3) for text in row) + len(row) + 1 for row in rows]
        long_rows = [row for row, tokens in zip(rows, bounds, strict=True) if tokens > layer.max_tokens]
        batches = batches_by_size(long_rows)
        return sum(tokenize(layer, [long_rows[i] for i in batch]).truncated_rows for batch in batches)

    def segments(self, text: object, name: str) -> Segments:
        """Return a text, or a tuple or list of texts, as the segments that the task reads; raise InputErrors."""
        fields = self.task.fields
        try:
            text = plain_text(text)
        except UnicodeDecodeError as error:
            raise InputError(f"{name}: byte {error.start + 1} is not UTF-8; decode it first") from None
        except UnicodeEncodeError as error:
            raise InputError(f"{name}: character {error.start + 1} is a lone surrogate; replace it") from None
        values = text if isinstance(text, tuple) else (text,)
        if len(values) != len(fields):
            raise InputError(f"{name}: this model reads {' and '.join(fields)} of each row")
        segments: list[str] = []
        for value, segment_name in zip(values, fields, strict=True):
            place = name if len(fields) == 1 else f"{name}: {segment_name}"
            if not isinstance(value, str):
                raise InputError(f"{place} is {type_name(value)}; expected a str")
            if not value.strip():
                raise InputError(f"{place} is empty")
            segments.append(value)
        return tuple(segments)


def open_predictor(model: str | Path | Run, *, precision: str = "float32") -> Predictor:
    """Open a run or an export for many calls of `predict`.

    In a web server, open the predictor in each worker: TensorFlow does not work in a process that was forked after it
    started.

    Args:
        model: As for `predict`.
        precision: Compute dtype of a run: "float32", "bfloat16", "float16", or "auto", which is bfloat16 where the
            hardware is fast at it. The compute dtype of an export is fixed.

    Returns:
        A predictor, to be passed to `predict` in place of the path.

    Raises:
        InputError: The model is not found, the export was changed after it was written, or `precision` is set for an
            export.

    Example:
        predictor = open_predictor("runs/reviews", precision="auto")
        predict(predictor, ["a warm, funny film"])
    """
    if check_type("precision", precision, str, f"one of {', '.join(PRECISIONS)}") not in PRECISIONS:
        raise InputError(f"--precision {precision}: must be one of {', '.join(PRECISIONS)}")
    if isinstance(model, Run):
        return _run_predictor(model, precision)
    path = check_path("model", model, "a run, or the path of a run or an export")
    is_tflite, is_saved_model = path.suffix == ".tflite", (path / "saved_model.pb").is_file()
    saved_models = [path] if is_saved_model else versions(path)
    if not path.exists():
        raise InputError(f"{path}: not found; pass a run folder, an export folder or an artifact")
    if not (is_tflite or saved_models):
        return _run_predictor(Run(path), precision)
    if precision not in ("float32", "auto"):
        raise InputError(f"--precision {precision}: {path} is an export, whose precision is fixed; leave it out")
    return _tflite_predictor(path) if is_tflite else _saved_model_predictor(saved_models[-1])


def _run_predictor(run: Run, precision: str) -> Predictor:
    task, load_model = run.recipe.task, cache(run.load_model)

    def load() -> PredictFn:
        from tfhub_ft.encoders import HubEncoder
        from tfhub_ft.utils.keras_compat import flatten_layers
        from tfhub_ft.utils.precision import keep_freed_memory, matrix_products_in

        keep_freed_memory()
        model, compute_dtype = load_model(), resolve_precision(precision)
        if compute_dtype != "float32":
            for layer in flatten_layers(model):
                if isinstance(layer, HubEncoder):
                    layer.backend.cast_kernels(compute_dtype)
        predict_fn = make_predict_fn(task, model, run.labels, run.thresholds)

        def predict_in_precision(rows: Sequence[Segments]) -> list[Prediction]:
            with matrix_products_in(compute_dtype, model):
                return predict_fn(rows)

        return predict_in_precision

    def load_explain_fn() -> ExplainFn:
        # The kernels of the other model may be rounded.
        is_exact = resolve_precision(precision) == "float32"
        return make_explain_fn(task, load_model() if is_exact else run.load_model(), run.labels)

    return Predictor(
        task,
        run.labels,
        load,
        str(run.path.resolve()),
        lambda: load_model().get_layer("preprocessor"),
        run.settings,
        precision,
        run.settings.columns(),
        load_explain_fn,
    )


def _saved_model_predictor(path: Path) -> Predictor:
    check_artifact(path)
    description, runtime = read_description(path), SavedModelRuntime(path)
    model = RuntimeModel(runtime, described_task(description, path), description, reads_texts=True)

    def load_preprocessor() -> "HubPreprocessor | None":
        return saved_preprocessor(path, runtime.model) if "preprocessor" in description else None

    return Predictor(
        model.task,
        model.labels,
        lambda: model.predict,
        str(path.resolve()),
        load_preprocessor,
        trained_columns=read_columns(path),
    )


def _tflite_predictor(path: Path) -> Predictor:
    description = read_description(path)
    task, load_preprocessor = described_task(description, path), cache(lambda: tflite_preprocessor(path))
    reads_texts = description["reads_texts"]
    runtime_class = TFLiteTextRuntime if reads_texts else TFLiteRuntime
    # Loading a file that was changed can crash the process.
    is_verified = check_artifact(path)

    def load() -> PredictFn:
        runtime = runtime_class(path) if is_verified else IsolatedRuntime(runtime_class).open(path)
        model = RuntimeModel(runtime, task, description, load_preprocessor, reads_texts=reads_texts)

        def predict_fn(rows: Sequence[Segments]) -> list[Prediction]:
            try:
                return model.predict(rows)
            except RunError as error:
                raise InputError(f"{error}; restore the file, or export its run again") from None

        return predict_fn

    return Predictor(
        task,
        description["labels"],
        load,
        str(path.resolve()),
        load_preprocessor,
        trained_columns=read_columns(path),
    )


def predict_rows(
    predictor: Predictor, rows: Iterable[TextRow], on_bad_row: Callable[[str], None] | None = None
) -> Iterator[tuple[TextRow, Prediction]]:
    """Yield each row with its prediction; a row without a text gets the keys of the other predictions, all None."""
    rows, blank = iter(rows), None
    while window := list(itertools.islice(rows, predictor.rows_at_once)):
        window, predictions = _predict_window(predictor, window, on_bad_row)
        remaining = iter(predictions)
        for row in window:
            if row.segments is not None:
                yield row, next(remaining)
                continue
            blank = blank or (_blank(predictions[0]) if predictions else predictor.blank)
            yield row, blank


def _blank(prediction: Prediction) -> Prediction:
    return {key: dict.fromkeys(value) if isinstance(value, dict) else None for key, value in prediction.items()}


def _predict_window(
    predictor: Predictor, window: list[TextRow], on_bad_row: Callable[[str], None] | None
) -> tuple[list[TextRow], list[Prediction]]:
    """Return the rows without the bad ones, and the predictions of those that have a text."""
    while True:
        rows = {number: row.segments for number, row in enumerate(window) if row.segments is not None}
        try:
            return window, predictor(list(rows.values()))
        except RowError as error:
            bad_row = window.pop(list(rows)[error.row])
            if on_bad_row is None:
                raise InputError(f"{bad_row.location}: {error}") from None
            on_bad_row(f"{bad_row.location}: {error}")
