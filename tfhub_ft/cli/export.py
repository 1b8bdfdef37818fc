"""`tfhub-ft export RUN --output-dir DIR`."""

from collections.abc import Callable
from typing import Any

import click

from tfhub_ft.cli.param_types import PATH
from tfhub_ft.evaluation.console_tables import logit_difference
from tfhub_ft.exports.formats import FORMATS


def _listed(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else list(dict.fromkeys(each.strip() for each in value.split(",")))


def _list_option(*names: str, default: str | None, help: str) -> Callable[[Any], Any]:
    """An option of words with commas between."""
    return click.option(*names, default=default, show_default=True, callback=_listed, metavar="LIST", help=help)


@click.command("export")
@click.argument("run", type=PATH)
@click.option(
    "--output-dir", type=PATH, required=True, metavar="DIR", help="The export folder, such as saved_models/reviews."
)
@_list_option("--format", "formats", default="saved_model", help=f"Any of {', '.join(FORMATS)}, with commas between.")
@_list_option(
    "--quantize",
    default=None,
    help=f"Quantizations of the TFLite ({', '.join(FORMATS['tflite'].quantizations)} [none,dynamic]) and ONNX files"
    f" ({', '.join(FORMATS['onnx'].quantizations)} [none]); for a model that writes replies, weights of its SavedModel"
    f" (none, bfloat16, int8 [none]).",
)
@click.option(
    "--vocabulary",
    default="all",
    show_default=True,
    metavar="WHICH",
    help="all, or domain: the words that the training rows need and some more.",
)
@click.option(
    "--warmup-rows",
    is_flag=True,
    help="Warm TF Serving up by rows of the run, not by made-up texts; the export has them.",
)
def command(
    run: str,
    output_dir: str,
    formats: list[str],
    quantize: list[str] | None,
    vocabulary: str,
    warmup_rows: bool,
) -> None:
    """Export a run, for TF Serving, TFLite or ONNX Runtime, and verify each artifact.

    \b
    Examples: tfhub-ft export runs/reviews --output-dir saved_models/reviews
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
    from tfhub_ft.exports.verify import verified_on

    rows = f"on {verified_on(entry)}"
    writes = "max_logit_difference" not in entry
    parts = [rows if writes else f"{rows}: logits within {logit_difference(entry):.1e} of the model's"]
    if entry.get("agreement") is not None:
        parts.append(f"{entry['agreement']:.1%} of the {'replies' if writes else 'answers'} equal")
    if score := entry.get("score"):
        parts.append(f"{score['name'].replace('_', ' ')} {score['form']:.4f} (model: {score['model']:.4f})")
    return "; ".join([*parts, f"one row {entry['latency_ms']['p50']} ms"])
