"""`tfhub-ft export RUN --output-dir DIR`."""

import json
from pathlib import Path

import click


@click.command("export")
@click.argument("run")
@click.option("--output-dir", required=True, metavar="DIR", help="The export folder, such as saved_models/reviews.")
def command(run: str, output_dir: str) -> None:
    """Export a run as a SavedModel for TF Serving, and prove it.

    Example: tfhub-ft export runs/reviews --output-dir saved_models/reviews
    """
    from tfhub_ft.exports.export import export

    version = export(run, output_dir=output_dir)
    form = json.loads((Path(output_dir) / "export.json").read_text(encoding="utf-8"))["forms"][-1]
    difference = max(form["max_logit_difference"].values())
    click.echo(
        f"{version}: {form['bytes'] / 1e6:.1f} MB; answers like the model on {form['rows']} rows"
        f" (logits within {difference:.1e}, labels equal); one text {form['latency_ms']['p50']} ms"
    )
