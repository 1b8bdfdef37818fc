"""The forms of an export folder, and what each answers, computed by the task's own code for all of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfhub_ft.data.batches import batches_by_size
from tfhub_ft.data.rows import Row
from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.export_folder import check_artifact, read_exports
from tfhub_ft.exports.export import FORMATS
from tfhub_ft.exports.saved_model import read_task, saved_preprocessor
from tfhub_ft.exports.tflite_metadata import read_description
from tfhub_ft.inference.batching import make_predict_fn
from tfhub_ft.inference.predict import open_predictor
from tfhub_ft.inference.runtimes.isolated import KINDS, Feed
from tfhub_ft.inference.runtimes.tflite import LiteModel, carries_tokenizer, computed_outside, logits_of_output
from tfhub_ft.tasks.base import Task, described_task
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.console import command_line
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import folder_bytes

# From the least quantized on.
ORDER = ("none", "bfloat16", "float16", "dynamic", "int8")


@dataclass(frozen=True)
class Form:
    """One way to answer by an export.

    Args:
        name: what export.json calls it: "saved_model", "tflite", "tflite_text" or "onnx".
        path: its file, or the SavedModel's folder.
        quantization: "none", "bfloat16", "float16", "dynamic" or "int8".
        reads: "text", or "tokens" that are made elsewhere.
    """

    name: str
    path: Path
    quantization: str
    reads: str

    @property
    def kind(self) -> str:
        """What `run_isolated` calls it."""
        return "saved_model_tokens" if (self.name, self.reads) == ("saved_model", "tokens") else self.name

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return folder_bytes(self.path)


def find_forms(folder: Path) -> list[Form]:
    """The forms that stand in an export folder, the least quantized first.

    Of SavedModels it is the newest of each quantization; from text, and from tokens on where it takes these.

    Raises:
        InputError: the folder is not an export, or a form is missing or was changed.
    """
    try:
        entries = read_exports(folder)["forms"]
    except InputError as error:
        raise InputError(f"{error}; tfhub-ft export RUN --output-dir DIR makes an export folder") from None
    # Of files there is one a quantization, of SavedModels one a version, the newest last.
    newest = {(entry["form"], entry.get("quantization", "none")): entry for entry in entries}
    forms = []
    for (form, quantization), entry in sorted(newest.items(), key=_order):
        path, reads = folder / entry["path"], {"tflite_text": ("text",)}.get(form, ("tokens",))
        if form == "saved_model":
            reads = ("text", "tokens") if "tokens" in entry.get("outputs", ["tokens"]) else ("text",)
        if not path.exists():
            raise InputError(f"{path} has gone, which {folder}/export.json names: export its run again")
        check_artifact(path)
        forms += [Form(form, path, quantization, each) for each in reads]
    if not forms:
        export = command_line("tfhub-ft", "export", "RUN", "--output-dir", folder)
        raise InputError(f"{folder}/export.json names no form: {export} makes some")
    return forms


def _order(item: tuple[tuple[str, str], Any]) -> tuple[int, int]:
    (form, quantization), _ = item
    return ORDER.index(quantization), list(FORMATS).index(form)


def description_of(form: Form) -> dict[str, Any]:
    """What a form says of itself: "task", "labels" and "decision"; a SavedModel and a TFLite file more than that.

    Raises:
        InputError: it is no export of tfhub_ft.
    """
    if form.name == "saved_model":
        return read_task(form.path)
    if form.name != "onnx":
        return read_description(form.path)
    import onnxruntime

    words = onnxruntime.InferenceSession(form.path, providers=["CPUExecutionProvider"]).get_modelmeta()
    return {name: json.loads(words.custom_metadata_map[name]) for name in ("labels", "decision")}


def task_of(form: Form) -> Task:
    """The task that a SavedModel or a TFLite file answers, with the fields that its rows are read by.

    Raises:
        InputError: it is a task of somebody's own, or none.
    """
    task = described_task(description_of(form), form.path)
    # Whatever the recipe calls its inputs, rows are read by the task's own names.
    object.__setattr__(task, "fields", tuple(column.name for column in task.columns(labeled=False)))
    return task


class Answers:
    """What the forms of an export answer for rows.

    Args:
        forms: the forms.
        task: what is answered.
        rows: the rows.
    """

    def __init__(self, forms: Sequence[Form], task: Task, rows: Sequence[Row]):
        self.forms, self.task, self.rows = forms, task, rows
        self.asked = [task.prediction_inputs(row) for row in rows]

    @cached_property
    def preprocessor(self) -> Any:
        """What makes the tokens for the forms that read these.

        Raises:
            InputError: no form carries it.
        """
        for form in self.forms:
            if form.name == "saved_model" and "preprocessor" in description_of(form):
                return saved_preprocessor(form.path)
            if form.name.startswith("tflite") and carries_tokenizer(form.path):
                return LiteModel(form.path).get_layer("preprocessor")
        raise InputError(
            f"{self.forms[0].path}: no form beside it says how texts become tokens; export a SavedModel of the run into"
            " the same folder"
        )

    @cached_property
    def tokens(self) -> Any:
        """The rows as the task's scores take them."""
        return self.task.encode(self.preprocessor, [self.task.training_inputs(row) for row in self.rows])

    def of(self, form: Form) -> tuple[list[dict[str, Any]] | None, Any]:
        """A form's answers, and what the task's `metrics` takes; each None where the form does not tell it.

        Tasks that answer with a place in a text are scored by the tokens of the rows' own words, as in training.
        """
        described = description_of(form)
        labels, decision = described["labels"], described["decision"]
        if self.task.primary_metric and not isinstance(self.task, WindowedTask):
            logits = self._logits_of_texts(form) if form.reads == "text" else self._logits_of_tokens(form)
            return self.task.decode_serving_outputs({"logits": logits}, self.asked, labels, decision), logits
        if form.reads == "text":
            answers = open_predictor(form.path)(self.asked)
        elif self.task.primary_metric or form.name == "tflite":
            answers = make_predict_fn(self.task, TokenForm(form, self.task, self.preprocessor), labels, decision)(
                self.asked
            )
        else:
            # A SavedModel and an ONNX file tell the best replies or words by number, not the logits of all of them.
            answers = None
        return answers, self._logits_of_tokens(form) if self.task.primary_metric else None

    def _logits_of_texts(self, form: Form) -> np.ndarray:
        if form.name == "tflite_text":
            return LiteModel(form.path).logits_of_texts(self.asked)
        call, names = KINDS[form.kind](form.path), description_of(form)["inputs"]
        batches = list(batches_by_size(self.asked))
        found = np.concatenate([call(text_feed(names, [self.asked[i] for i in rows]))["logits"] for rows in batches])
        logits = np.empty_like(found)
        logits[np.concatenate(batches)] = found
        return logits

    def _logits_of_tokens(self, form: Form) -> Any:
        return self.task.make_score_fn(TokenForm(form, self.task, self.preprocessor))(self.tokens)


class TokenForm:
    """A form, from tokens on, that stands in for the Keras model that it was made of.

    Args:
        form: any but one that has texts only.
        task: knows how to get from a TFLite file's output to logits.
        preprocessor: makes the tokens.
    """

    input = TOKEN_INPUTS

    def __init__(self, form: Form, task: Task, preprocessor: Any):
        kind = "saved_model_tokens" if form.name == "saved_model" else form.kind
        self._call, self._form, self._task = KINDS[kind](form.path), form, task
        self._layers = {"preprocessor": preprocessor, "token_model": self}

    def get_layer(self, name: str) -> Any:
        """The layer `preprocessor` or `token_model`, as a Keras model has them."""
        return self._layers[name]

    def __call__(self, tokens: dict[str, Any], training: bool = False) -> Any:
        """The logits, float32 (batch, ...), of int32 tensors (batch, length) by name."""
        shape = [None] * (3 if isinstance(self._task, WindowedTask) else 2)
        return computed_outside(self._logits, tokens, shape)

    def _logits(self, feed: Feed) -> np.ndarray:
        outputs = self._call(feed)
        if self._form.name == "tflite":
            (output,) = outputs.values()
            return logits_of_output(self._task, output)
        return outputs["logits"]


def text_feed(names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> dict[str, np.ndarray]:
    """Rows of segments as a SavedModel's `serving_default` takes them."""
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
