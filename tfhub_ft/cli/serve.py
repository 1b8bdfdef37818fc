"""`tfhub-ft serve EXPORT_DIR`."""

import sys
from pathlib import Path

import click

from tfhub_ft.cli.param_types import PATH


@click.command("serve")
@click.argument("export_dir", type=PATH)
@click.option("--port", type=click.IntRange(1, 65535), default=8500, show_default=True, help="For gRPC.")
@click.option("--rest-port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="For REST.")
def command(export_dir: str, port: int, rest_port: int) -> None:
    """Serve an export by TF Serving (tensorflow_model_server), where it is installed.

    The folder's models.config and batching.config are used; README.md there shows how to ask.

    Example: tfhub-ft serve saved_models/reviews
    """
    from tfhub_ft.exports.serving.server import serve

    sys.exit(serve(Path(export_dir), port=port, rest_port=rest_port))
