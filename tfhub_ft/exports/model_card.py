"""Write the model card of an export folder."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.catalog import CATALOG
from tfhub_ft.encoders.packing import split_head_and_tail
from tfhub_ft.evaluation.console_tables import format_cell, logit_difference, repeats_caption, repeats_cells
from tfhub_ft.evaluation.report.report_tables import score_table
from tfhub_ft.export_folder import Entry
from tfhub_ft.exports.formats import FORMATS
from tfhub_ft.exports.serving.guide import serving_guide
from tfhub_ft.exports.verify import verification_summary
from tfhub_ft.metrics.thresholds import precision_summary
from tfhub_ft.run import Run
from tfhub_ft.tasks.windowed import WindowedTask
from tfhub_ft.utils.imports import imported
from tfhub_ft.utils.markdown import plain, render_markdown

if TYPE_CHECKING:
    from tfhub_ft.exports.context import ExportContext

LABELS_SHOWN = 200


def model_card(context: "ExportContext", metrics: dict[str, Any], entries: Sequence[Entry]) -> str:
    """Return the README.md of an export folder, given the run's scores and the entries of export.json."""
    run, folder = context.run, context.folder
    # The last entry of a SavedModel is the newest.
    newest = {(entry["form"], entry.get("quantization", "none")): entry for entry in entries}
    entries = list(newest.values())
    # The examples use the smallest file of each format, and the least quantized SavedModel.
    order = [*context.formats["saved_model"].quantizations].index
    examples = {entry["form"]: entry for entry in sorted(entries, key=lambda entry: -entry["bytes"])}
    if saved_models := [entry for entry in entries if entry["form"] == "saved_model"]:
        examples["saved_model"] = min(saved_models, key=lambda entry: order(entry.get("quantization", "none")))
    values = {"notes": "", **imported(context.card_values)(context, entries)}
    limitations = [
        *values.pop("limitations"),
        "The scores apply to texts that are similar to the test rows.",
        *_threshold_limitations(run, metrics),
        *_warnings(run),
        *_tokenizer_limitations(entries),
    ]
    serving = ""
    if entry := examples.get("saved_model"):
        feeds = {signature: batches[0] for signature, batches in context.example_feeds.items()}
        serving = serving_guide(folder, entry, feeds)
    settings = {name: without_folder(value) for name, value in run.settings.as_dict().items() if value is not None}
    return render_markdown(
        "tfhub_ft.exports",
        "model_card.md.j2",
        name=folder.name,
        run=run,
        labels_shown=LABELS_SHOWN,
        earlier_run=without_folder(run.settings.from_run),
        **_repeats(run),
        splits=[(name, without_folder(split["file"]), split["rows"]) for name, split in run.splits.items()],
        scores=_scores_table(metrics),
        verified_on=_verified_on(entries),
        limitations=limitations,
        entries=examples,
        paths={name: f"{folder.name}/{entry['path']}" for name, entry in examples.items()},
        example='"a text"' if len(context.task.fields) == 1 else '("a text", "another text")',
        serving=serving,
        settings=json.dumps(settings, indent=1, ensure_ascii=False),
        **values,
    )


def without_folder(value: object) -> object:
    """Return the name of an absolute path, which says nothing on another machine; other values unchanged."""
    return Path(value).name or value if isinstance(value, str) and Path(value).is_absolute() else value


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    head, *lines = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return "\n".join([head, "|---" * len(header) + "|", *lines])


def classifier_values(context: "ExportContext", entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the values of the template for a model with an encoder."""
    run, task = context.run, context.task
    encoder = run.settings.as_dict()["encoder"]
    license = next((entry.license for entry in CATALOG if entry.name == encoder), None)
    scores = dict.fromkeys(entry["score"]["name"].replace("_", " ") for entry in entries if entry.get("score"))
    header = ["artifact", "file", "MB", "logit difference", "equal predictions", *scores, "ms"]
    columns = [
        "logit difference: the largest difference from the Keras model's logits",
        "equal predictions: the share of rows with the Keras model's prediction",
        *(f"{name}: the artifact's, and in parentheses the Keras model's, on these rows" for name in scores),
        "ms: median time of one row on the exporting machine, without tokenization if the artifact reads tokens",
    ]
    rank = len(context.model.get_layer("token_model").input["input_mask"].shape)
    return {
        "model": f"the encoder `{plain(str(without_folder(encoder)))}`",
        "license": f"License of the encoder: {license}." if license else "The license of the encoder applies.",
        "columns": columns,
        "artifacts": markdown_table(header, [_artifact_row(entry, list(scores)) for entry in entries]),
        "limitations": [_long_texts(context)],
        "call": ", ".join(f'{field}=tf.constant(["a text"])' for field in task.fields),
        "inputs": {
            "serving_default": ", ".join(f"`{field}`" for field in task.fields) + ": string (batch,)",
            "tokens": "`input_word_ids`, `input_mask`, `input_type_ids`: int32"
            + (" (batch, length)" if rank == 2 else " (batch, windows, length)"),
            "embed": "`text`: string (batch,)",
        },
    }


def _long_texts(context: "ExportContext") -> str:
    """Return what the model reads of long texts."""
    settings, preprocessor = context.run.settings, context.model.get_layer("preprocessor")
    long_texts, seq_length = getattr(settings, "long_texts", "truncate"), preprocessor.seq_length
    if isinstance(context.task, WindowedTask):
        return f"Long texts are read in windows of {seq_length} tokens."
    if long_texts == "windows":
        return (
            f"Long texts are read in at most {preprocessor.max_windows} windows of {seq_length} tokens, which overlap"
            f" by {preprocessor.overlap}. The logits of a text are the {settings.as_dict()['window_pooling']} of those"
            " of its windows."
        )
    if long_texts == "head-tail":
        head, tail = split_head_and_tail(seq_length - 2)
        return f"Only the first {head} and the last {tail} tokens of a long text are read."
    return f"Only the first {seq_length} tokens of a row are read."


def _artifact_row(entry: Entry, scores: list[str]) -> list[str]:
    score, agreement, quantization = entry.get("score"), entry.get("agreement"), entry.get("quantization", "none")
    cells = dict.fromkeys(scores, "-")
    if score:
        cells[score["name"].replace("_", " ")] = f"{score['form']:.4f} ({score['model']:.4f})"
    return [
        FORMATS[entry["form"]].title + ("" if quantization == "none" else f", {quantization}"),
        f"`{plain(entry['path'])}`",
        f"{entry['bytes'] / 1e6:.1f}",
        f"{logit_difference(entry):.1e}",
        "all" if entry.get("labels_equal") else "-" if agreement is None else f"{agreement:.1%}",
        *cells.values(),
        str(entry["latency_ms"]["p50"]),
    ]


def _verified_on(entries: Sequence[Entry]) -> str:
    """Return which rows the artifacts were verified on; their paths are named only if the rows differ."""
    paths = defaultdict(list)
    for entry in entries:
        paths[verification_summary(entry)].append(f"`{plain(entry['path'])}`")
    if len(paths) == 1:
        return plain(next(iter(paths)))
    return "; ".join(f"{plain(rows)} ({', '.join(names)})" for rows, names in paths.items())


def _threshold_limitations(run: Run, metrics: dict[str, Any]) -> list[str]:
    if summary := precision_summary(metrics, run.labels, run.thresholds):
        return [plain(" ".join(summary))]
    return [f"The thresholds were chosen on validation rows: `{json.dumps(run.thresholds)}`."] if run.thresholds else []


def _warnings(run: Run) -> list[str]:
    """Return the warnings of the training run, without the folders of its files."""
    folders = {f"{Path(split['file']).parent}/" for split in run.splits.values()} | {f"{run.path.resolve().parent}/"}
    warnings = []
    for warning in run.warnings:
        for folder in sorted(folders - {"./", "/", "//"}, key=len, reverse=True):
            warning = warning.replace(folder, "")
        warnings.append(f"{plain(warning[0].upper() + warning[1:])}.")
    return warnings


def _tokenizer_limitations(entries: Sequence[Entry]) -> list[str]:
    limitations, paths = [], defaultdict(list)
    for entry in entries:
        if vocabulary := entry.get("vocabulary"):
            limitations.append(
                f"`{plain(entry['path'])}` has a vocabulary of {vocabulary['words']:,} tokens: those of the training"
                " rows and a few more. Other words are split into smaller pieces."
            )
        if characters := entry.get("tokenizer", {}).get("other_characters"):
            paths[tuple(characters)].append(f"`{plain(entry['path'])}`")
    return limitations + [
        f"{' and '.join(names)}: the tokenizer assigns {len(characters)} rare characters to another category than the"
        f" encoder's preprocessor does: {', '.join(characters)}."
        for characters, names in paths.items()
    ]


def _repeats(run: Run) -> dict[str, str]:
    """Return the table of all seeds or folds, if the run was kept from several, and its caption."""
    if not run.repeats:
        return {"repeats": "", "repeats_caption": ""}
    columns, rows = repeats_cells(run.repeats)
    cells = [list(row) for row in zip(columns, *rows, strict=True)]
    return {"repeats": markdown_table(cells[0], cells[1:]), "repeats_caption": repeats_caption(run.repeats)}


def _scores_table(metrics: dict[str, Any]) -> str:
    table = score_table({split: scores for split, scores in metrics.items() if split != "train"})
    # The intervals are those of the last split.
    last = list(metrics)[-1]
    header = ["score", *(f"{name} ({last})" if "interval" in name else name for name in table.columns[1:])]
    # The number of rows is in the table of the data.
    rows = [[name, *map(format_cell, values)] for name, *values in table.rows if name != "rows"]
    return f"{markdown_table(header, rows)}\n\n{table.caption}".rstrip()
