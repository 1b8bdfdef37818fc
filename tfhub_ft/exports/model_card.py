"""The model card: what an export is, how good it is, and how to call it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.catalog import CATALOG
from tfhub_ft.evaluation.console_tables import headlines, logit_difference
from tfhub_ft.exports.export import WEIGHTS
from tfhub_ft.exports.markdown import plain, python_string
from tfhub_ft.exports.serving.guide import serving_guide
from tfhub_ft.exports.verification_examples import verified_on
from tfhub_ft.language_models.model_card import dialogue_call, licence_of, limits_of, weights_table
from tfhub_ft.language_models.task import Dialogue
from tfhub_ft.metrics.thresholds import precision_summary
from tfhub_ft.run import Run
from tfhub_ft.tasks.windowed import WindowedTask

if TYPE_CHECKING:
    import numpy as np

LABELS_SHOWN = 200
TITLES = {
    "saved_model": "SavedModel",
    "tflite": "TFLite, from tokens on",
    "tflite_text": "TFLite, from text on",
    "onnx": "ONNX, from tokens on",
}


def model_card(
    run: Run,
    metrics: dict[str, Any],
    folder: Path,
    forms: Sequence[dict[str, Any]],
    feeds: "dict[str, list[dict[str, np.ndarray]]]",
) -> str:
    """The README.md of an export folder, as Markdown.

    Args:
        run: the run that was exported.
        metrics: its scores.
        folder: the export folder, under whose name TF Serving serves it.
        forms: what export.json says of each form; of SavedModels the newest is last.
        feeds: some rows for each signature of a SavedModel, batches of arrays by input.
    """
    newest = {(form["form"], form.get("quantization")): form for form in forms}
    forms = list(newest.values())
    writes = isinstance(run.recipe.task, Dialogue)
    if writes:
        forms.sort(key=lambda form: WEIGHTS.index(form["quantization"]))
        calls = [dialogue_call(run, folder, forms, feeds)]
    else:
        calls = [_CALLS[form["form"]](run, folder, form, feeds) for form in _one_of_each(forms)]
    return "\n\n".join(
        [
            _head(run, folder.name),
            _data(run),
            f"## Scores\n\n{_scores(metrics)}",
            weights_table(forms) if writes else _forms(forms),
            _limits(run, metrics, forms),
            "## How to call it",
            *calls,
            f"## Settings\n\n```\n{json.dumps(run.settings.as_dict(), indent=1, ensure_ascii=False)}\n```\n",
        ]
    )


def _one_of_each(forms: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A form of each kind, the smallest where there are several."""
    smallest: dict[str, dict[str, Any]] = {}
    for form in sorted(forms, key=lambda form: -form["bytes"]):
        smallest[form["form"]] = form
    return [smallest[kind] for kind in TITLES if kind in smallest]


def _head(run: Run, name: str) -> str:
    recipe = f"{run.recipe.summary} Recipe `{run.recipe.name}` of tfhub_ft"
    if isinstance(run.recipe.task, Dialogue):
        model = plain(run.settings.language_model)
        return f"# {plain(name)}\n\n{recipe}, language model `{model}`. {licence_of(run)}"
    encoder = run.settings.encoder
    licence = next((entry.licence for entry in CATALOG if entry.name == encoder), "see its source")
    parts = [f"# {plain(name)}", f"{recipe}, encoder `{plain(encoder)}`. Licence of the encoder: {licence}."]
    if run.labels:
        labels = ", ".join(f"`{plain(label)}`" for label in run.labels[:LABELS_SHOWN])
        more = len(run.labels) - LABELS_SHOWN
        labels += f" and {more:,} more (assets.extra/labels.json)" if more > 0 else ""
        parts.append(f"Labels, in the order of the logits: {labels}.")
    return "\n\n".join(parts)


def _data(run: Run) -> str:
    rows = [f"| {name} | `{plain(split['file'])}` | {split['rows']:,} |" for name, split in run.splits.items()]
    return "\n".join(["## Data", "", "| split | file | rows |", "|---|---|---|", *rows])


def _forms(forms: Sequence[dict[str, Any]]) -> str:
    lines = [
        "## Forms",
        "",
        "Each was loaded in a fresh process and held against the Keras model on validation rows (and training rows,"
        " where those are few). The time is the median of one row, on the machine that exported it; from tokens on,"
        " tokenizing is not in it.",
        "",
        "| form | file | MB | verified on | logits differ by at most | equal answers | score (model's) | one row, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for form in forms:
        score, agreement = form.get("score"), form.get("agreement")
        equal = "all" if form.get("labels_equal") else "-" if agreement is None else f"{agreement:.1%}"
        kept = f"{score['name'].replace('_', ' ')} {score['form']:.4f} ({score['model']:.4f})" if score else "-"
        quantized = form.get("quantization", "none")
        kind = TITLES[form["form"]] + ("" if quantized == "none" else f", {quantized}")
        lines.append(
            f"| {kind} | `{plain(form['path'])}` | {form['bytes'] / 1e6:.1f} | {plain(verified_on(form))} |"
            f" {logit_difference(form):.1e} | {equal} | {kept} | {form['latency_ms']['p50']} |"
        )
    return "\n".join(lines)


def _limits(run: Run, metrics: dict[str, Any], forms: Sequence[dict[str, Any]]) -> str:
    settings, limits = run.settings, []
    if isinstance(run.recipe.task, Dialogue):
        limits += limits_of(run, forms)
    elif isinstance(run.recipe.task, WindowedTask):
        limits.append(f"Texts of any length are read, in windows of {settings.seq_length} tokens.")
    else:
        limits.append(f"Only the first {settings.seq_length} tokens of a row are read.")
    limits.append("The scores hold for texts like those of the test rows; others were not tried.")
    if summary := precision_summary(metrics, run.labels, run.decision):
        limits.append(plain(" ".join(summary)))
    elif run.decision:
        limits.append(f"The thresholds were chosen on validation rows: `{json.dumps(run.decision)}`.")
    limits += [f"{plain(warning[0].upper() + warning[1:])}." for warning in run.warnings]
    for form in forms:
        if words := form.get("vocabulary"):
            limits.append(
                f"`{plain(form['path'])}` has a vocabulary of {words['words']:,} tokens: those of the training rows and"
                " a few more. Other words are split into smaller pieces."
            )
    limits += [
        f"{' and '.join(f'`{plain(path)}`' for path in paths)}: the tokenizer puts {len(characters)} rare characters"
        f" into another category than the encoder's preprocessor does: {', '.join(characters)}."
        for characters, paths in _by_other_characters(forms).items()
    ]
    return "\n".join(["## Limits", "", *(f"- {limit}" for limit in limits)])


def _by_other_characters(forms: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], list[str]]:
    """The characters that tokenizers of files take otherwise, and the files that do."""
    files: dict[tuple[str, ...], list[str]] = {}
    for form in forms:
        if characters := form.get("tokenizer", {}).get("other_characters"):
            files.setdefault(tuple(characters), []).append(form["path"])
    return files


def _path(folder: Path, form: dict[str, Any]) -> str:
    """Return the path of a form, from the folder that holds the export folder, as Python code."""
    return python_string(f"{folder.name}/{form['path']}")


def _saved_model_call(run: Run, folder: Path, form: dict[str, Any], feeds: dict[str, list[dict[str, Any]]]) -> str:
    fields, outputs = run.recipe.task.fields, form["outputs"]
    call = ", ".join(f'{field}=tf.constant(["a text"])' for field in fields)
    takes = {
        "serving_default": ", ".join(f"`{field}`" for field in fields) + ": string (batch,)",
        "tokens": "`input_word_ids`, `input_mask`, `input_type_ids`: int32 (batch, length)",
        "embed": "`text`: string (batch,)",
    }
    signatures = "\n".join(
        f"| `{signature}` | {takes[signature]} | {'; '.join(f'`{each}`: {kind}' for each, kind in gives.items())} |"
        for signature, gives in outputs.items()
    )
    return f"""```python
import tensorflow as tf
import tensorflow_text  # the tokenizer's operations

model = tf.saved_model.load({_path(folder, form)})
print(model.signatures["serving_default"]({call}))
```

| signature | takes | gives |
|---|---|---|
{signatures}

{serving_guide(folder, form, {signature: batches[0] for signature, batches in feeds.items()}).rstrip()}"""


def _lite_call(run: Run, folder: Path, form: dict[str, Any], feeds: dict[str, list[dict[str, Any]]]) -> str:
    file = _path(folder, form)
    asked = '"a text"' if len(run.recipe.task.fields) == 1 else '("a text", "another text")'
    parts = [
        f"""## TFLite

By tfhub_ft, which makes the tokens by the vocabulary in the file:

```python
import tfhub_ft

print(tfhub_ft.predict({file}, [{asked}]))
```

By LiteRT, on tokens of any batch and length; feed inputs by name, not by position:

```python
from ai_edge_litert.interpreter import Interpreter

run = Interpreter({file}).get_signature_runner()
print(run(input_word_ids=ids, input_mask=mask, input_type_ids=types))
```

Here `ids`, `mask` and `types` are int32 arrays (batch, length): the ids of the tokens from [CLS] to [SEP]; 1 for each
token and 0 for padding; the segment of each token. Where shapes must be static, as some accelerators want it, fix them
once before the tensors are allocated, here to one row of 64 tokens, and pad to it:

```python
interpreter = Interpreter({file})
for tensor in interpreter.get_input_details():
    interpreter.resize_tensor_input(tensor["index"], [1, 64], strict=True)
interpreter.allocate_tensors()
```"""
    ]
    if run.recipe.task.tflite_output_name == "probabilities" and len(run.recipe.task.fields) == 1:
        parts.append(f"""By MediaPipe, on phones, in Python and in browsers (`@mediapipe/tasks-text`), which reads
the vocabulary and the labels in the file. Its tokenizer lower-cases A to Z and keeps
accents: where texts have any, it may answer otherwise.

```python
from mediapipe.tasks.python import text

print(text.TextClassifier.create_from_model_path({file}).classify("a text"))
```""")
    return "\n\n".join(parts)


def _lite_text_call(run: Run, folder: Path, form: dict[str, Any], feeds: dict[str, list[dict[str, Any]]]) -> str:
    return f"""## TFLite with the tokenizer inside

One text or several; LiteRT needs TF Text's operations, which its Python package has:

```python
import numpy as np
from ai_edge_litert.interpreter import InterpreterWithCustomOps
from tensorflow_text.core.pybinds import tflite_registrar

interpreter = InterpreterWithCustomOps(
    model_path={_path(folder, form)}, custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS
)
print(interpreter.get_signature_runner()(text=np.array([b"a text"], object)))
```"""


def _onnx_call(run: Run, folder: Path, form: dict[str, Any], feeds: dict[str, list[dict[str, Any]]]) -> str:
    return f"""## ONNX

```python
import onnxruntime

session = onnxruntime.InferenceSession({_path(folder, form)})
print(session.run(None, {{"input_word_ids": ids, "input_mask": mask, "input_type_ids": types}}))
```"""


_CALLS = {
    "saved_model": _saved_model_call,
    "tflite": _lite_call,
    "tflite_text": _lite_text_call,
    "onnx": _onnx_call,
}


def _scores(metrics: dict[str, Any]) -> str:
    shown = {split: scores for split, scores in metrics.items() if split != "train"}
    names = headlines(shown)
    lines = [
        "| split | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for split, scores in shown.items():
        lines.append(f"| {split} | " + " | ".join(_number(scores.get(name)) for name in names) + " |")
        if intervals := scores.get("intervals"):
            ends = [" to ".join(map(_number, intervals[name])) if name in intervals else "" for name in names]
            lines.append(f"| {split}, 95% interval | " + " | ".join(ends) + " |")
    return "\n".join(lines)


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
