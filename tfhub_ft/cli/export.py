"""`tfhub-ft export RUN --output-dir DIR`."""

from functools import partial
from typing import Any

import click

from tfhub_ft.cli.commands import Command, option
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.evaluation.console_tables import logit_difference
from tfhub_ft.exports.formats import FORMATS


def _split(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else list(dict.fromkeys(word.strip() for word in value.split(",")))


_artifacts = partial(option, group="Artifacts")
_list = partial(_artifacts, callback=_split, metavar="LIST")


@click.command("export", cls=Command)
@click.argument("run", type=PATH)
@_artifacts("--output-dir", type=PATH, required=True, metavar="DIR", help="Export folder, like saved_models/reviews.")
@_list("--format", "formats", default="saved_model", help=f"Formats, comma-separated: any of {', '.join(FORMATS)}.")
@_list(
    "--quantize",
    help=f"Quantization modes of the TFLite files ({', '.join(FORMATS['tflite'].quantizations)}; default none,dynamic)"
    f" and ONNX files ({', '.join(FORMATS['onnx'].quantizations)}; default none); for a dialogue model, of the weights"
    f" of its SavedModel (none, bfloat16, int8; default none).",
)
@_artifacts(
    "--vocabulary",
    default="all",
    metavar="[all|domain]",
    help='Vocabulary of the artifacts: "domain" keeps the tokens of the training rows and a small margin.',
)
@_artifacts(
    "--warmup-rows",
    is_flag=True,
    help="Use rows of the run, which the export then contains, as warm-up requests of TF Serving.",
)
def command(run: str, output_dir: str, **options: Any) -> None:
    """Export a run for TF Serving, TFLite or ONNX Runtime.

    Each artifact is verified: an isolated process must reproduce the predictions of the model.

    \b
    Example: tfhub-ft export runs/reviews --output-dir saved_models/reviews
             tfhub-ft export runs/reviews --output-dir saved_models/reviews --format tflite,tflite_text
             tfhub-ft export runs/dialogue --output-dir saved_models/dialogue --quantize none,int8
    """
    from tfhub_ft.exports.export import export_artifacts

    def print_artifact(entry: dict[str, Any]) -> None:
        print(f"{output_dir.rstrip('/')}/{entry['path']}: {entry['bytes'] / 1e6:.1f} MB; {_verification(entry)}")

    export_artifacts(run, output_dir=output_dir, on_artifact=print_artifact, **options)


def _verification(entry: dict[str, Any]) -> str:
    from tfhub_ft.exports.verify import verification_summary

    rows = f"on {verification_summary(entry)}"
    writes = "max_logit_difference" not in entry
    parts = [rows if writes else f"{rows}: logits within {logit_difference(entry):.1e} of the model's"]
    if entry.get("agreement") is not None:
        parts.append(f"{entry['agreement']:.1%} of the {'replies' if writes else 'answers'} equal")
    if score := entry.get("score"):
        parts.append(f"{score['name'].replace('_', ' ')} {score['form']:.4f} (model: {score['model']:.4f})")
    return "; ".join([*parts, f"one row {entry['latency_ms']['p50']} ms"])
