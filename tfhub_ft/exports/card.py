"""The model card: what an export is, how good it is, and how to call it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.encoders.catalogue import CATALOGUE
from tfhub_ft.evaluation.tables import headlines
from tfhub_ft.exports.serving_guide import serving_guide
from tfhub_ft.run import Run

if TYPE_CHECKING:
    import numpy as np

LABELS_SHOWN = 200


def model_card(
    run: Run,
    metrics: dict[str, Any],
    folder: Path,
    form: dict[str, Any],
    feeds: "dict[str, dict[str, np.ndarray]]",
) -> str:
    """The README.md of an export folder, as Markdown.

    Args:
        run: the run that was exported.
        metrics: its scores.
        folder: the export folder, under whose name TF Serving serves it.
        form: what export.json says of the newest version.
        feeds: some rows for each of its signatures, arrays by input.
    """
    name, settings = folder.name, run.settings
    fields = run.recipe.task.fields
    takes = ", ".join(f"`{field}`" for field in fields) + ": string (batch,)"
    call = ", ".join(f'{field}=tf.constant(["a text"])' for field in fields)
    licence = next((entry.licence for entry in CATALOGUE if entry.name == settings.encoder), "see its source")
    splits = {split: run.splits[split] for split in run.splits}
    gives, gives_of_tokens = (
        "; ".join(f"`{output}`: {kind}" for output, kind in form["outputs"][signature].items())
        for signature in ("serving_default", "tokens")
    )
    embed = "| `embed` | `text`: string (batch,) | `embedding`: " + form["outputs"].get("embed", {}).get(
        "embedding", ""
    )
    embed = f"{embed} |\n" if "embed" in form["outputs"] else ""
    labels = "Labels, in the order of the logits: " + ", ".join(
        f"`{_plain(label)}`" for label in run.labels[:LABELS_SHOWN]
    )
    if len(run.labels) > LABELS_SHOWN:
        labels += f" and {len(run.labels) - LABELS_SHOWN:,} more (assets.extra/labels.json)"
    thresholds = f" The thresholds of its answers: `{json.dumps(run.decision)}`." if run.decision else ""
    rows = "\n".join(f"| {split} | `{_plain(s['file'])}` | {s['rows']:,} |" for split, s in splits.items())
    return f"""# {name}

{run.recipe.summary} Recipe `{run.recipe.name}` of tfhub_ft, encoder `{_plain(settings.encoder)}` (licence: {licence}).
{labels + "." if run.labels else ""}

## Data

| split | file | rows |
|---|---|---|
{rows}

## Scores

{_scores(metrics)}

## The newest version

Version {form["version"]}, {form["bytes"]:,} bytes. Its answers were compared with the Keras model's on {form["rows"]}
validation rows in a fresh process: logits differ by at most {max(form["max_logit_difference"].values()):.1e}, all
labels are equal.{thresholds} One text takes {form["latency_ms"]["p50"]} ms (median, on the machine that exported it).

## How to call it

```python
import tensorflow as tf
import tensorflow_text  # the tokenizer's operations

model = tf.saved_model.load("{name}/{form["version"]}")
print(model.signatures["serving_default"]({call}))
```

| signature | takes | gives |
|---|---|---|
| `serving_default` | {takes} | {gives} |
| `tokens` | `input_word_ids`, `input_mask`, `input_type_ids`: int32 (batch, length) | {gives_of_tokens} |
{embed}
{serving_guide(folder, form, feeds)}
## Settings

```
{json.dumps(settings.as_dict(), indent=1, ensure_ascii=False)}
```
"""


def _scores(metrics: dict[str, Any]) -> str:
    shown = {split: scores for split, scores in metrics.items() if split != "train"}
    names = headlines(shown)
    lines = [
        "| split | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for split, scores in shown.items():
        lines.append(f"| {split} | " + " | ".join(_number(scores.get(name)) for name in names) + " |")
    return "\n".join(lines)


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _plain(text: str) -> str:
    # What comes from data must not end a table's cell or open a tag.
    return str(text).replace("|", "¦").replace("`", "'").replace("<", "‹").replace("\n", " ")
