"""`tfhub-ft serve EXPORT_DIR`."""

import sys
from functools import partial
from pathlib import Path

import click

from tfhub_ft.cli.commands import Command, option
from tfhub_ft.cli.param_types import PATH

_server = partial(option, type=click.IntRange(1, 65535), group="Runtime")


@click.command("serve", cls=Command)
@click.argument("export_dir", type=PATH)
@_server("--port", default=8500, help="Port of the gRPC API.")
@_server("--rest-port", default=8501, help="Port of the REST API.")
def command(export_dir: str, port: int, rest_port: int) -> None:
    """Serve an export with TF Serving.

    tensorflow_model_server must be installed. It reads models.config and batching.config in EXPORT_DIR;
    EXPORT_DIR/README.md shows example requests.

    Example: tfhub-ft serve saved_models/reviews
    """
    from tfhub_ft.exports.serving.server import serve

    sys.exit(serve(Path(export_dir), port=port, rest_port=rest_port))
