"""Commands printed by the command line and by model cards run when pasted, whatever the folder names."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests.conftest import TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.exports.serving.config import docker_command, model_name
from tfhub_ft.utils.console import command_line

ODD = 'it\'s a "$HOME" `x`, é & b!'
TINY = {**TINY_SETTINGS, "epochs": 1}


@pytest.fixture
def odd(here, tiny_pair, tmp_path, monkeypatch):
    """Return a function that runs a command in a folder with odd names and returns its output."""
    folder = tmp_path / ODD
    folder.mkdir()
    write_csv(folder / "-my rows.csv", make_reviews(80))
    shutil.copytree(tiny_pair, folder / "my encoder")

    def call(*arguments):
        done = here(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    call.folder = folder
    return call


def settings(**others):
    given = {**TINY, "encoder": "my encoder", **others}
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]


def shell_words(line, folder):
    """Return the words of a line as a shell parses them."""
    script = f'set -- {line}\nprintf "%s\\0" "$@"'
    read = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return read.stdout.split("\0")[:-1]


def next_command(output, folder):
    (line,) = re.findall(r"^Next: (.*)", output, re.MULTILINE)
    program, *arguments = shell_words(line, folder)
    assert program == "tfhub-ft"
    return arguments


@pytest.mark.slow
def test_commands_printed_by_train_and_model_card_run(odd, monkeypatch):
    output = odd("train", "sentiment", "--data", "./-my rows.csv", "--output-dir", "-my run", *settings())
    assert odd(*next_command(output, odd.folder)).split("\t")[0] in ("positive", "negative")
    odd("export", "./-my run", "--output-dir", "my model's", "--format", "saved_model,tflite,tflite_text,onnx")
    card = (odd.folder / "my model's" / "README.md").read_text(encoding="utf-8")
    commands = [
        shell_words(line, odd.folder) for line in re.findall(r"^(?:docker|tensorflow_\w+|tfhub-ft|curl) .*", card, re.M)
    ]
    by_program = {words[0]: words[1:] for words in commands}
    assert set(by_program) == {"docker", "tensorflow_model_server", "tfhub-ft", "curl"}

    docker = by_program["docker"]
    assert docker[docker.index("-v") + 1] == f"{odd.folder}/my model's:/models/my_model_s"
    server = dict(word.partition("=")[::2] for word in by_program["tensorflow_model_server"])
    assert (Path(server["--model_base_path"]) / "1" / "saved_model.pb").is_file()
    assert (odd.folder / server["--batching_parameters_file"]).is_file()
    config = text_format.Parse(
        (odd.folder / "my model's" / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    assert config.model_config_list.config[0].name == server["--model_name"] == "my_model_s"
    url, _, body = by_program["curl"]
    assert url == "http://localhost:8501/v1/models/my_model_s:predict"
    assert json.loads(body)["inputs"]

    assert by_program["tfhub-ft"] == ["serve", "my model's"]

    monkeypatch.chdir(odd.folder)
    ids = np.array([[3, 9, 4]], np.int32)
    names = {"ids": ids, "mask": np.ones_like(ids), "types": np.zeros_like(ids)}
    for code in re.findall(r"^```python\n(.*?)^```", card, re.DOTALL | re.MULTILINE):
        if "mediapipe" not in code:
            exec(code.partition("stub = ")[0], names)


@pytest.mark.sample
def test_command_printed_by_copy_runs(odd):
    (odd.folder / "my recipes").mkdir()
    output = odd("copy", "sentiment", "my recipes/mine.py")
    words = shell_words(output.partition("then run: ")[2].replace("FILE", "'./-my rows.csv'"), odd.folder)
    assert odd(*words[1:], "--dry-run", *settings())


@pytest.mark.slow
def test_commands_printed_by_other_commands_run(odd):
    rows = ["--data", "./-my rows.csv"]
    odd("copy", "sentiment", "mine.py")
    output = odd("prepare", "./mine.py", *rows, "--output-dir", "-my shards", "--seq-length=24", "--encoder=my encoder")
    odd(*next_command(output, odd.folder), *settings())

    odd("train", "sentiment", *rows, "--output-dir", "my run", *settings())
    output = odd("distill", "my run", "--student", "layers:1", "--output-dir", "my student")
    odd(*next_command(output, odd.folder))

    output = odd("encoders", "export", "my run", "minilm-l6")
    arguments = next_command(output, odd.folder)
    assert arguments[-1] == "./minilm-l6"
    odd(*arguments, "--dry-run", "--seq-length=24")

    pytest.importorskip("optuna")
    search = ["--trials=1", "--search=learning_rate=1e-3..2e-3"]
    output = odd("tune", "./mine.py", *rows, "--output-dir", "my $search", *search, *settings())
    odd(*next_command(output, odd.folder))


def test_command_line_quotes_words_and_paths_with_dashes():
    assert command_line("predict", Path("my run"), "a text") == "predict 'my run' 'a text'"
    assert command_line("predict", Path("-run"), "-text") == "predict ./-run -text"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("reviews", "reviews"), ("my reviews", "my_reviews"), ("a:b/ü (1)", "_1_"), ("v1.2-x", "v1.2-x")],
)
def test_model_name_is_valid_in_a_url(folder, name):
    assert model_name(Path(folder)) == name


def test_docker_command_mounts_folders_with_colons():
    words = docker_command(Path('/12:30, "b"/c'))
    (fields,) = csv.reader([words[words.index("--mount") + 1]])
    assert fields == ["type=bind", 'source=/12:30, "b"/c', "target=/models/c"]
