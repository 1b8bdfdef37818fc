import os
import shutil
import stat

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.integration.cli.test_main import tfhub_ft
from tests.unit.cli.test_main import refused

SERVER = """#!/bin/sh
printf '%s\\n' "$@" > "$RECORDED/arguments"
for argument in "$@"; do
  case "$argument" in --model_config_file=*) cp "${argument#*=}" "$RECORDED/models.config";; esac
done
exit 7
"""


@pytest.fixture()
def server(tmp_path):
    """Return a fake TF Serving that records its arguments and exits with 7."""
    program = tmp_path / "bin" / "tensorflow_model_server"
    program.parent.mkdir()
    program.write_text(SERVER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "RECORDED": str(tmp_path)}


@pytest.mark.sample
def test_serve_starts_the_server_and_returns_its_code(tiny_export, server, tmp_path):
    done = tfhub_ft("serve", tiny_export.name, "--port", 9000, "--rest-port", 9001, cwd=tiny_export.parent, **server)
    assert done.returncode == 7, done.stderr
    arguments = dict(line.partition("=")[::2] for line in (tmp_path / "arguments").read_text().splitlines())
    assert arguments.pop("--model_config_file").endswith("/models.config")
    assert arguments == {
        "--port": "9000",
        "--rest_api_port": "9001",
        "--enable_batching": "",
        "--batching_parameters_file": str(tiny_export / "batching.config"),
    }
    config = text_format.Parse((tmp_path / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("tiny", str(tiny_export))


def test_serve_without_a_server_says_how_to_install_it(tiny_export, tmp_path):
    done = tfhub_ft("serve", tiny_export, PATH=str(tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "apt-get install tensorflow-model-server" in line
    assert f"-v {tiny_export}:/models/tiny tensorflow/serving" in line


def test_serve_refuses_other_folders(tiny_export, tmp_path, server):
    refused(tfhub_ft("serve", tiny_export / "1", **server), "models.config not found", "tfhub-ft export")
    refused(tfhub_ft("serve", tiny_export, "--port", 9000, "--rest-port", 9000, **server), "--rest-port", "9000")
    for file in ("models.config", "batching.config"):
        shutil.copy(tiny_export / file, tmp_path)
    (tmp_path / "models.config").write_text("model_config_list {")
    refused(tfhub_ft("serve", tmp_path, **server), "models.config: cannot be read")
    assert not (tmp_path / "arguments").exists()
