"""Starting TF Serving on an export folder."""

import shutil
import signal
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

from tfhub_ft.export_folder import check_artifact, versions
from tfhub_ft.exports.serving.config import BATCHING_CONFIG, MODELS_CONFIG, SERVER, docker_command, server_command
from tfhub_ft.utils.console import command_line
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import temporary_folder
from tfhub_ft.utils.saved_graph import check_graph


def serve(folder: Path, *, port: int = 8500, rest_port: int = 8501) -> int:
    """Run `tensorflow_model_server` on an export folder until it ends.

    Args:
        folder: the export folder, with models.config and batching.config.
        port: for gRPC.
        rest_port: for REST.

    Returns:
        The server's exit code; 128 and the signal's number where a signal ended it, as a shell says it.

    Raises:
        InputError: the folder is no export, one of its two files cannot be read, or its model was changed.
        UntrustedCode: a graph in it may do more than compute, and --trust is not given.
        RunError: tensorflow_model_server is not installed.

    Example:
        serve(Path("saved_models/reviews"))
    """
    from google.protobuf import text_format

    for file in (MODELS_CONFIG, BATCHING_CONFIG):
        if not (folder / file).is_file():
            raise InputError(f"{folder} has no {file}: name a folder that tfhub-ft export wrote, or export again")
    if port == rest_port:
        raise InputError(f"--port and --rest-port are both {port}: gRPC and REST need a port each")
    config = _models_config(folder)
    for model in config.model_config_list.config:
        for version in versions(Path(model.base_path)):
            check_artifact(version)
            check_graph(version)
    if not shutil.which(SERVER):
        raise RunError(
            f"{SERVER} is not on the PATH: install it (apt-get install tensorflow-model-server, from the"
            " packages that https://www.tensorflow.org/tfx/serving/setup names), or use its image:"
            f" {command_line(*docker_command(folder))}"
        )
    with temporary_folder() as scratch:
        (Path(scratch) / MODELS_CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
        batching = str((folder / BATCHING_CONFIG).resolve())
        models_file = [f"--model_config_file={scratch}/{MODELS_CONFIG}"]
        return _until_it_ends(server_command(models_file, batching, port=port, rest_port=rest_port))


def _models_config(folder: Path) -> Any:
    """The folder's models.config with the places where its models really stand: TF Serving wants absolute paths."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    path = folder / MODELS_CONFIG
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), model_server_config_pb2.ModelServerConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); without it, the next export writes it anew") from error
    for model in config.model_config_list.config:
        if model.base_path.startswith("/models/"):
            model.base_path = str(folder.resolve().joinpath(*PurePosixPath(model.base_path).parts[3:]))
    return config


def _until_it_ends(command: list[str]) -> int:
    server = subprocess.Popen(command)
    before = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        code = server.wait()
    except KeyboardInterrupt:
        # The terminal has told the server too.
        code = server.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    return code if code >= 0 else 128 - code
