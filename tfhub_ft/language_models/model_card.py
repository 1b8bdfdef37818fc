"""What the model card of a language model says otherwise than that of an encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.exports.markdown import plain, python_string
from tfhub_ft.exports.serving.config import model_name
from tfhub_ft.exports.serving.guide import serving_guide
from tfhub_ft.exports.verification_examples import verified_on
from tfhub_ft.language_models.presets import CATALOG
from tfhub_ft.language_models.task import reply_tokens
from tfhub_ft.run import Run

if TYPE_CHECKING:
    import numpy as np

TAKES = {
    "serving_default": "`prompt`: string (batch,)",
    "generate": "`prompt`: string; `max_tokens`, `seed`: int32; `temperature`, `top_p`: float32; (batch,) each",
    "score": "`prompt`, `reply`: string (batch,)",
}


def licence_of(run: Run) -> str:
    """Whose the language model is that was fine-tuned, and the licence of its weights, in a sentence."""
    entry = next((entry for entry in CATALOG if entry.name == run.settings.language_model), None)
    if entry is None:
        return "Licence of the language model: see its source."
    return f"The language model is by {entry.maker}: {entry.source}. Licence of its weights: {entry.licence}."


def weights_table(forms: Sequence[dict[str, Any]]) -> str:
    """The section on the forms, a row for each precision of the weights."""
    lines = [
        "## Forms",
        "",
        "Each was loaded in a fresh process, wrote replies to prompts of validation rows and scored true ones, and both"
        " was held against the Keras model. The time is the median of one reply, on the machine that exported it.",
        "",
        "| weights | folder | MB | verified on | equal replies | equal words, up to the first other one | perplexity"
        " (model's) | one reply, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for form in forms:
        name = "float32" if form["quantization"] == "none" else form["quantization"]
        lines.append(
            f"| {name} | `{form['path']}` | {form['bytes'] / 1e6:.1f} | {plain(verified_on(form))} |"
            f" {form['agreement']:.1%} |"
            f" {form['same_words']:.1%} | {form['score']['form']:.4f} ({form['score']['model']:.4f}) |"
            f" {form['latency_ms']['p50']} |"
        )
    return "\n".join(lines)


def limits_of(run: Run, forms: Sequence[dict[str, Any]]) -> list[str]:
    """What the model cannot do, a sentence or two each."""
    limits = [
        "It writes what is likely, which need not be true or fitting; nothing checks its replies.",
        f"A prompt and its reply have a window of {run.settings.seq_length} tokens; of a prompt that fills it the front"
        " is not read. Each prompt is answered on its own: `tfhub-ft chat` keeps a conversation.",
        "The tokens that the chat template writes around messages are read as spaces where a prompt has them.",
    ]
    if any(form["quantization"] == "bfloat16" for form in forms):
        limits.append(
            "bfloat16 weights are multiplied in bfloat16: fast on processors that can (AVX512_BF16, AMX), slow on all"
            " others."
        )
    if any(form["quantization"] == "int8" for form in forms):
        limits.append(
            "int8 weights are made float32 when the model is loaded: it is as fast as with float32 weights, and takes a"
            " quarter more memory."
        )
    return limits


def dialogue_call(
    run: Run,
    folder: Path,
    forms: Sequence[dict[str, Any]],
    feeds: "dict[str, list[dict[str, np.ndarray]]]",
) -> str:
    """How the SavedModel is called, in Python and by TF Serving: the first of the forms, and where the others are."""
    form = forms[0]
    signatures = "\n".join(
        f"| `{signature}` | {TAKES[signature]} | {'; '.join(f'`{each}`: {kind}' for each, kind in gives.items())} |"
        for signature, gives in form["outputs"].items()
    )
    return f"""```python
import tensorflow as tf
import tensorflow_text  # the operations of some tokenizers

model = tf.saved_model.load({python_string(f"{folder.name}/{form['path']}")})
print(model.signatures["serving_default"](prompt=tf.constant(["Hello?"])))
```

| signature | takes | gives |
|---|---|---|
{signatures}

`serving_default` writes the likeliest tokens, {reply_tokens(run.settings.seq_length)} at most. `generate` takes more
with each prompt: `max_tokens`; `temperature`, 0 for the likeliest tokens; `top_p`, 1 for all of them; and `seed`, by
which a reply is drawn again. `score` tells how likely a reply is: the sum of the log-likelihoods of its tokens and of
the end, how many these are, and the perplexity.
{_others(folder, forms)}
{serving_guide(folder, form, {signature: batches[0] for signature, batches in feeds.items()}).rstrip()}"""


def _others(folder: Path, forms: Sequence[dict[str, Any]]) -> str:
    """A paragraph on the forms that are not shown; empty where there are none."""
    if not forms[1:]:
        return ""
    folders = " and ".join(f"`{plain(folder.name)}/{form['path']}`" for form in forms[1:])
    inside = Path(forms[1]["path"]).parent
    return f"""
{folders} have the same signatures. TF Serving serves one of these where
`base_path` in models.config names the folder of its versions, such as `/models/{model_name(folder)}/{inside}`.
"""
