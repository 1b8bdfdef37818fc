"""`tfhub-ft export RUN --output-dir DIR`."""

from collections.abc import Callable
from typing import Any

import click

from tfhub_ft.cli.commands import Command, option
from tfhub_ft.cli.param_types import PATH
from tfhub_ft.evaluation.console_tables import logit_difference
from tfhub_ft.exports.formats import FORMATS


def _split(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else list(dict.fromkeys(word.strip() for word in value.split(",")))


def _list_option(*names: str, default: str | None, help: str) -> Callable[[Any], Any]:
    """Return an option with a comma-separated list of words."""
    return option(
        *names, default=default, show_default=True, callback=_split, metavar="LIST", group="Artifacts", help=help
    )


@click.command("export", cls=Command)
@click.argument("run", type=PATH)
@option(
    "--output-dir",
    type=PATH,
    required=True,
    metavar="DIR",
    group="Artifacts",
    help="Export folder to write, such as saved_models/reviews.",
)
@_list_option(
    "--format", "formats", default="saved_model", help=f"Formats, comma-separated: any of {', '.join(FORMATS)}."
)
@_list_option(
    "--quantize",
    default=None,
    help=f"Quantization modes of the TFLite files ({', '.join(FORMATS['tflite'].quantizations)}; default none,dynamic)"
    f" and ONNX files ({', '.join(FORMATS['onnx'].quantizations)}; default none); for a dialogue model, of the weights"
    f" of its SavedModel (none, bfloat16, int8; default none).",
)
@option(
    "--vocabulary",
    default="all",
    show_default=True,
    metavar="[all|domain]",
    group="Artifacts",
    help='Vocabulary of the artifacts: "domain" keeps the tokens of the training rows and a small margin.',
)
@option(
    "--warmup-rows",
    is_flag=True,
    group="Artifacts",
    help="Use rows of the run, which the export then contains, as warm-up requests of TF Serving.",
)
def command(
    run: str,
    output_dir: str,
    formats: list[str],
    quantize: list[str] | None,
    vocabulary: str,
    warmup_rows: bool,
) -> None:
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

    export_artifacts(
        run,
        output_dir=output_dir,
        formats=formats,
        quantize=quantize,
        vocabulary=vocabulary,
        warmup_rows=warmup_rows,
        on_artifact=print_artifact,
    )


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
