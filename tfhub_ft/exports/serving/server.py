"""Start TF Serving on an export folder."""

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
    """Run `tensorflow_model_server` on an export folder until it exits; return its exit code as a shell does.

    Raises:
        InputError: The folder is not an export, its configuration cannot be read, or its model was changed.
        UntrustedCode: A graph could run untrusted code, and --trust is not given.
        RunError: Tensorflow_model_server is not installed.
    """
    from google.protobuf import text_format

    for file in (MODELS_CONFIG, BATCHING_CONFIG):
        if not (folder / file).is_file():
            raise InputError(f"{folder}: {file} not found; pass a folder written by tfhub-ft export, or export again")
    if port == rest_port:
        raise InputError(f"--port and --rest-port: both are {port}; choose different ports")
    config = _models_config(folder)
    for model in config.model_config_list.config:
        for version in versions(Path(model.base_path)):
            check_artifact(version)
            check_graph(version)
    if not shutil.which(SERVER):
        raise RunError(
            f"{SERVER}: not found on the PATH; install it (apt-get install tensorflow-model-server, with the"
            " repository of https://www.tensorflow.org/tfx/serving/setup), or use its Docker image:"
            f" {command_line(*docker_command(folder))}"
        )
    with temporary_folder() as scratch:
        (Path(scratch) / MODELS_CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")
        models = [f"--model_config_file={scratch}/{MODELS_CONFIG}"]
        command = server_command(models, str((folder / BATCHING_CONFIG).resolve()), port=port, rest_port=rest_port)
        return _run_until_exit(command)


def _models_config(folder: Path) -> Any:
    """Return the folder's models.config with the absolute paths of its models, which TF Serving requires."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    path = folder / MODELS_CONFIG
    config = model_server_config_pb2.ModelServerConfig()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove it, and the next export writes it") from error
    for model in config.model_config_list.config:
        if model.base_path.startswith("/models/"):
            model.base_path = str(folder.resolve().joinpath(*PurePosixPath(model.base_path).parts[3:]))
    return config


def _run_until_exit(command: list[str]) -> int:
    server = subprocess.Popen(command)
    previous = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        code = server.wait()
    except KeyboardInterrupt:
        # The terminal has sent the signal to the server, too.
        code = server.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
    return code if code >= 0 else 128 - code
