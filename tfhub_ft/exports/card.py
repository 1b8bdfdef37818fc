"""The model card: what an export is, how good it is, and how to call it."""

import json
from typing import Any

from tfhub_ft.encoders.catalogue import CATALOGUE
from tfhub_ft.run import Run


def model_card(run: Run, metrics: dict[str, Any], name: str, form: dict[str, Any]) -> str:
    """The README.md of an export folder, as Markdown.

    Args:
        run: the run that was exported.
        metrics: its scores.
        name: the export folder's name, under which TF Serving serves it.
        form: what export.json says of the newest version.
    """
    settings = run.settings
    example = json.dumps({"inputs": {"text": [run.sample[0][0]]}}, ensure_ascii=False)
    licence = next((entry.licence for entry in CATALOGUE if entry.name == settings.encoder), "see its source")
    splits = {split: run.splits[split] for split in run.splits}
    shapes = f"`logits`, `probabilities`: float32 (batch, {len(run.labels)})"
    gives = f"{shapes}; `label`: string (batch,); `score`: float32 (batch,)"
    rows = "\n".join(f"| {split} | `{_plain(s['file'])}` | {s['rows']:,} |" for split, s in splits.items())
    return f"""# {name}

{run.recipe.summary} Recipe `{run.recipe.name}` of tfhub_ft, encoder `{_plain(settings.encoder)}` (licence: {licence}).
Labels, in the order of the logits: {", ".join(f"`{_plain(label)}`" for label in run.labels)}.

## Data

| split | file | rows |
|---|---|---|
{rows}

## Scores

{_scores(metrics)}

## The newest version

Version {form["version"]}, {form["bytes"]:,} bytes. Its answers were compared with the Keras model's on {form["rows"]}
validation rows in a fresh process: logits differ by at most {max(form["max_logit_difference"].values()):.1e}, all
labels are equal. One text takes {form["latency_ms"]["p50"]} ms (median, on the machine that exported it).

## How to call it

```python
import tensorflow as tf
import tensorflow_text  # the tokenizer's operations

model = tf.saved_model.load("{name}/{form["version"]}")
print(model.signatures["serving_default"](text=tf.constant(["a text"])))
```

TF Serving, from the folder that holds `{name}/`:

```
docker run -p 8501:8501 -v "$PWD/{name}:/models/{name}" -e MODEL_NAME={name} tensorflow/serving
curl http://localhost:8501/v1/models/{name}:predict -d '{example.replace("'", "'" + chr(92) + "''")}'
```

| signature | takes | gives |
|---|---|---|
| `serving_default` | `text`: string (batch,) | {gives} |
| `tokens` | `input_word_ids`, `input_mask`, `input_type_ids`: int32 (batch, length) | the same |

## Settings

```
{json.dumps(settings.as_dict(), indent=1, ensure_ascii=False)}
```
"""


def _scores(metrics: dict[str, Any]) -> str:
    names = ("accuracy", "f1_macro", "roc_auc", "log_loss")
    lines = [
        "| split | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for split, scores in metrics.items():
        if split != "train":
            cells = (f"{scores[name]:.4f}" if scores[name] is not None else "-" for name in names)
            lines.append(f"| {split} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _plain(text: str) -> str:
    # What comes from data must not end a table's cell or open a tag.
    return str(text).replace("|", "¦").replace("`", "'").replace("<", "‹").replace("\n", " ")
