"""Write the model card: what an export is, how good it is, and how to call it."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.catalog import CATALOG
from tfhub_ft.evaluation.console_tables import format_cell, headlines, logit_difference
from tfhub_ft.exports.formats import FORMATS
from tfhub_ft.exports.serving.guide import serving_guide
from tfhub_ft.exports.verify import verified_on
from tfhub_ft.metrics.thresholds import precision_summary
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.imports import imported
from tfhub_ft.utils.markdown import plain, render_markdown

if TYPE_CHECKING:
    from tfhub_ft.exports.context import ExportContext

LABELS_SHOWN = 200


def model_card(context: "ExportContext", metrics: dict[str, Any], entries: Sequence[dict[str, Any]]) -> str:
    """Return the README.md of an export folder, as Markdown.

    Args:
        context: the export.
        metrics: the scores of the run.
        entries: the artifacts in export.json; of SavedModels the newest is last.
    """
    run, folder = context.run, context.folder
    newest = {(entry["form"], entry.get("quantization", "none")): entry for entry in entries}
    entries = list(newest.values())
    # The example of each format is the smallest file, and the least quantized SavedModel.
    order = [*context.formats["saved_model"].quantizations].index
    examples = {entry["form"]: entry for entry in sorted(entries, key=lambda entry: -entry["bytes"])}
    if saved_models := [entry for entry in entries if entry["form"] == "saved_model"]:
        examples["saved_model"] = min(saved_models, key=lambda entry: order(entry.get("quantization", "none")))
    values = {"notes": "", **imported(context.card_values)(context, entries)}
    limits = [
        *values.pop("limits"),
        "The scores hold for texts like those of the test rows; others were not tried.",
        *_threshold_limits(context, metrics),
        *(f"{plain(warning[0].upper() + warning[1:])}." for warning in run.warnings),
        *_tokenizer_limits(entries),
    ]
    serving = ""
    if entry := examples.get("saved_model"):
        feeds = {signature: batches[0] for signature, batches in context.example_feeds.items()}
        serving = serving_guide(folder, entry, feeds)
    return render_markdown(
        "tfhub_ft.exports",
        "model_card.md.j2",
        name=folder.name,
        run=run,
        labels_shown=LABELS_SHOWN,
        scores=_scores(metrics),
        limits=limits,
        entries=examples,
        paths={name: f"{folder.name}/{entry['path']}" for name, entry in examples.items()},
        example='"a text"' if len(context.task.fields) == 1 else '("a text", "another text")',
        serving=serving,
        settings=json.dumps(run.settings.as_dict(), indent=1, ensure_ascii=False),
        **values,
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, one line a row."""
    head, *lines = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return "\n".join([head, "|---" * len(header) + "|", *lines])


def classifier_values(context: "ExportContext", entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the model card says of a model with an encoder."""
    run, fields = context.run, context.task.fields
    encoder = run.settings.encoder
    license = next((entry.license for entry in CATALOG if entry.name == encoder), "see its source")
    length = run.settings.seq_length
    windowed = isinstance(context.task, WindowedTask)
    header = "artifact | file | MB | verified on | logits differ by at most | equal predictions | score (model's) | ms"
    texts = ", ".join(f"`{field}`" for field in fields) + ": string (batch,)"
    return {
        "model": f"encoder `{plain(encoder)}`. License of the encoder: {license}.",
        "verification": "Each artifact was loaded in an isolated process and compared with the Keras model on"
        " validation rows (and training rows, where those are few). From tokens on, the time is without the tokenizer.",
        "unit": "row",
        "artifacts": markdown_table(header.split(" | "), [_artifact_row(entry) for entry in entries]),
        "limits": [
            f"Texts of any length are read, in windows of {length} tokens."
            if windowed
            else f"Only the first {length} tokens of a row are read."
        ],
        "call": ", ".join(f'{field}=tf.constant(["a text"])' for field in fields),
        "inputs": {
            "serving_default": texts,
            "tokens": "`input_word_ids`, `input_mask`, `input_type_ids`: int32 (batch, length)",
            "embed": "`text`: string (batch,)",
        },
    }


def _artifact_row(entry: dict[str, Any]) -> list[str]:
    score, agreement, quantization = entry.get("score"), entry.get("agreement"), entry.get("quantization", "none")
    return [
        FORMATS[entry["form"]].title + ("" if quantization == "none" else f", {quantization}"),
        f"`{plain(entry['path'])}`",
        f"{entry['bytes'] / 1e6:.1f}",
        plain(verified_on(entry)),
        f"{logit_difference(entry):.1e}",
        "all" if entry.get("labels_equal") else "-" if agreement is None else f"{agreement:.1%}",
        f"{score['name'].replace('_', ' ')} {score['form']:.4f} ({score['model']:.4f})" if score else "-",
        str(entry["latency_ms"]["p50"]),
    ]


def _threshold_limits(context: "ExportContext", metrics: dict[str, Any]) -> list[str]:
    run = context.run
    if summary := precision_summary(metrics, run.labels, run.thresholds):
        return [plain(" ".join(summary))]
    return [f"The thresholds were chosen on validation rows: `{json.dumps(run.thresholds)}`."] if run.thresholds else []


def _tokenizer_limits(entries: Sequence[dict[str, Any]]) -> list[str]:
    limits, files = [], {}
    for entry in entries:
        if words := entry.get("vocabulary"):
            limits.append(
                f"`{plain(entry['path'])}` has a vocabulary of {words['words']:,} tokens: those of the training rows"
                " and a few more. Other words are split into smaller pieces."
            )
        if characters := entry.get("tokenizer", {}).get("other_characters"):
            files.setdefault(tuple(characters), []).append(f"`{plain(entry['path'])}`")
    return limits + [
        f"{' and '.join(paths)}: the tokenizer puts {len(characters)} rare characters into another category than the"
        f" encoder's preprocessor does: {', '.join(characters)}."
        for characters, paths in files.items()
    ]


def _scores(metrics: dict[str, Any]) -> str:
    shown = {split: scores for split, scores in metrics.items() if split != "train"}
    names, rows = headlines(shown), []
    for split, scores in shown.items():
        rows.append([split, *(format_cell(scores.get(name)) for name in names)])
        if intervals := scores.get("intervals"):
            ends = [" to ".join(map(format_cell, intervals[name])) if name in intervals else "" for name in names]
            rows.append([f"{split}, 95% interval", *ends])
    return markdown_table(["split", *(name.replace("_", " ") for name in names)], rows)
