"""Values of the model card template for a language model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tfhub_ft.exports.model_card import markdown_table, without_folder
from tfhub_ft.exports.serving.config import model_name
from tfhub_ft.language_models.presets import CATALOG
from tfhub_ft.language_models.task import default_max_tokens
from tfhub_ft.utils.markdown import plain

if TYPE_CHECKING:
    from tfhub_ft.language_models.export import DialogueExportContext
    from tfhub_ft.settings import DialogueSettings


def dialogue_values(context: "DialogueExportContext", entries: Sequence[dict[str, Any]]) -> dict[str, object]:
    """Return the values of the model card's template, given the artifacts in export.json."""
    settings = cast("DialogueSettings", context.run.settings)
    order = [*context.formats["saved_model"].quantizations].index
    entries = sorted(entries, key=lambda entry: order(entry["quantization"]))
    header = ["weights", "folder", "MB", "equal replies", "equal words", "perplexity", "ms"]
    return {
        "model": f"the language model `{plain(str(without_folder(settings.language_model)))}`",
        "license": _license(settings.language_model),
        "columns": [
            "equal replies: the share of prompts with the Keras model's reply",
            "equal words: the share of the words of the Keras model's replies before the first different one",
            "perplexity: the artifact's, and in parentheses the Keras model's, on the true replies of these rows",
            "ms: median time of one reply on the exporting machine",
        ],
        "artifacts": markdown_table(header, [_artifact_row(entry) for entry in entries]),
        "limitations": _limits(settings.seq_length, [entry["quantization"] for entry in entries]),
        "call": 'prompt=tf.constant(["Hello?"])',
        "inputs": {
            "serving_default": "`prompt`: string (batch,)",
            "generate": "`prompt`: string; `max_tokens`, `seed`: int32; `temperature`, `top_p`: float32; (batch,) each",
            "score": "`prompt`, `reply`: string (batch,)",
        },
        "notes": _notes(context.folder, settings.seq_length, entries),
    }


def _license(language_model: str) -> str:
    entry = next((entry for entry in CATALOG if entry.name == language_model), None)
    if entry is None:
        return "License of the language model: see its source."
    return f"The language model is by {entry.maker}: {entry.source}. License of its weights: {entry.license}."


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


def _limits(seq_length: int, quantizations: Sequence[str]) -> list[str]:
    limits = [
        "It generates likely replies, which may be false or unsuitable; nothing checks them.",
        f"A prompt and its reply share a window of {seq_length} tokens; a prompt that fills it loses its first tokens."
        " Each prompt is answered by itself: `tfhub-ft chat` keeps a conversation.",
        "Special tokens of the chat template are read as spaces where a prompt contains them.",
    ]
    if "bfloat16" in quantizations:
        limits.append(
            "bfloat16 weights are multiplied in bfloat16: fast on processors with AVX512_BF16 or AMX, slow on others."
        )
    if "int8" in quantizations:
        limits.append(
            "int8 weights become float32 when the model is loaded: it is as fast as with float32 weights, and needs a"
            " quarter more memory."
        )
    return limits


def _notes(folder: Path, seq_length: int, entries: Sequence[dict[str, Any]]) -> str:
    """Explain the signatures, and how the other artifacts are served."""
    notes = f"""\
`serving_default` selects the most likely tokens, {default_max_tokens(seq_length)} at most. `generate` takes more with
each prompt: `max_tokens`; `temperature`, 0 for the most likely tokens; `top_p`, 1 for all tokens; and `seed`, which
makes a sampled reply reproducible. `score` returns how likely a reply is: the sum of the log-likelihoods of its tokens
and of the end token, the number of these tokens, and the perplexity."""
    _, *others = entries
    if not others:
        return notes
    paths = " and ".join(f"`{plain(folder.name)}/{entry['path']}`" for entry in others)
    base_path = Path("/models") / model_name(folder) / Path(others[0]["path"]).parent
    return f"""{notes}

{paths} have the same signatures. TF Serving serves one of these where `base_path` in models.config names the folder of
its versions, such as `{base_path}`."""
