"""What the model card of a language model says in place of what it says of an encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.exports.model_card import markdown_table, without_folder
from tfhub_ft.exports.serving.config import model_name
from tfhub_ft.language_models.presets import CATALOG
from tfhub_ft.language_models.task import reply_tokens
from tfhub_ft.utils.markdown import plain

if TYPE_CHECKING:
    from tfhub_ft.language_models.export import DialogueExportContext
    from tfhub_ft.run import Run


def dialogue_values(context: "DialogueExportContext", entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the values of the model card's template, given the artifacts in export.json."""
    run, order = context.run, [*context.formats["saved_model"].quantizations].index
    entries = sorted(entries, key=lambda entry: order(entry["quantization"]))
    header = ["weights", "folder", "MB", "equal replies", "equal words", "perplexity", "ms"]
    return {
        "model": f"the language model `{plain(str(without_folder(run.settings.language_model)))}`",
        "license": _license(run),
        "columns": [
            "equal replies: the share of prompts with the Keras model's reply",
            "equal words: the share of the words of the Keras model's replies before the first different one",
            "perplexity: the artifact's, and in parentheses the Keras model's, on the true replies of these rows",
            "ms: median time of one reply on the exporting machine",
        ],
        "artifacts": markdown_table(header, [_artifact_row(entry) for entry in entries]),
        "limitations": list(_limits(run, [entry["quantization"] for entry in entries])),
        "call": 'prompt=tf.constant(["Hello?"])',
        "inputs": {
            "serving_default": "`prompt`: string (batch,)",
            "generate": "`prompt`: string; `max_tokens`, `seed`: int32; `temperature`, `top_p`: float32; (batch,) each",
            "score": "`prompt`, `reply`: string (batch,)",
        },
        "notes": _notes(context, entries),
    }


def _license(run: "Run") -> str:
    entry = next((entry for entry in CATALOG if entry.name == run.settings.language_model), None)
    if entry is None:
        return "License of the language model: see its source."
    return f"The language model is by {entry.maker}: {entry.source}. License of its weights: {entry.licence}."


def _artifact_row(entry: dict[str, Any]) -> list[str]:
    return [
        "float32" if entry["quantization"] == "none" else entry["quantization"],
        f"`{entry['path']}`",
        f"{entry['bytes'] / 1e6:.1f}",
        f"{entry['agreement']:.1%}",
        f"{entry['same_words']:.1%}",
        f"{entry['score']['form']:.4f} ({entry['score']['model']:.4f})",
        str(entry["latency_ms"]["p50"]),
    ]


def _limits(run: "Run", quantizations: Sequence[str]) -> list[str]:
    limits = [
        "It writes what is likely, which need not be true or fitting; nothing checks its replies.",
        f"A prompt and its reply share a window of {run.settings.seq_length} tokens; the front of a prompt that fills"
        " it is not read. Each prompt is answered by itself: `tfhub-ft chat` keeps a conversation.",
        "The tokens that the chat template writes around messages are read as spaces where a prompt contains them.",
    ]
    if "bfloat16" in quantizations:
        limits.append(
            "bfloat16 weights are multiplied in bfloat16: fast on processors with AVX512_BF16 or AMX, slow on others."
        )
    if "int8" in quantizations:
        limits.append(
            "int8 weights become float32 when the model is loaded: it is as fast as with float32 weights, and takes a"
            " quarter more memory."
        )
    return limits


def _notes(context: "DialogueExportContext", entries: Sequence[dict[str, Any]]) -> str:
    """Explain the signatures, and how the other artifacts are served."""
    folder, (_, *others) = context.folder, entries
    notes = f"""\
`serving_default` writes the likeliest tokens, {reply_tokens(context.run.settings.seq_length)} at most. `generate` takes
more with each prompt: `max_tokens`; `temperature`, 0 for the likeliest tokens; `top_p`, 1 for all of them; and `seed`,
which makes a sampled reply reproducible. `score` returns how likely a reply is: the sum of the log-likelihoods of its
tokens and of the end, how many these are, and the perplexity."""
    if not others:
        return notes
    folders = " and ".join(f"`{plain(folder.name)}/{entry['path']}`" for entry in others)
    inside = Path(others[0]["path"]).parent
    return f"""{notes}

{folders} have the same signatures. TF Serving serves one of these where
`base_path` in models.config names the folder of its versions, such as `/models/{model_name(folder)}/{inside}`."""
