"""Commands on a console with another encoding than UTF-8."""

import io
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import make_reviews, write_csv
from tests.integration.cli.test_main import tfhub_ft
from tfhub_ft.cli.main import main

TEXT = "good film so nice 😀 é → \u0141"


@pytest.fixture
def console(monkeypatch):
    """Return a function that runs a command on a console with an encoding and returns exit code and output bytes."""

    def call(encoding, *arguments, stdin=b""):
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding, errors) for errors in ("strict", "backslashreplace"))
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        monkeypatch.setattr(sys, "argv", ["tfhub-ft", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code, out.buffer.getvalue(), err.buffer.getvalue()

    return call


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_predict_replaces_characters_the_console_lacks(console, tiny_run, encoding):
    code, out, _ = console(encoding, "predict", tiny_run, TEXT)
    assert code == 0
    assert out.decode(encoding).rstrip("\n").split("\t")[-1] == TEXT.encode(encoding, "replace").decode(encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_json_is_lossless_on_any_console(console, tiny_run, encoding):
    code, out, _ = console(encoding, "predict", tiny_run, "--json", TEXT)
    assert code == 0
    assert json.loads(out.decode(encoding))["text"] == TEXT
    assert console(encoding, "encoders", "list", "--json")[0] == 0


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_evaluate_prints_its_tables_on_any_console(console, tiny_run, tmp_path, encoding):
    rows = write_csv(tmp_path / "ré→.csv", [(text + " 😀", label) for text, label in make_reviews(8)])
    code, out, _ = console(encoding, "evaluate", tiny_run, "--data", rows)
    assert code == 0
    assert b"as positive" in out
    assert "ré→.csv".encode(encoding, "replace") in out


def test_files_stay_utf8_on_any_console(console, tiny_run, tmp_path):
    rows = write_csv(tmp_path / "rows.csv", [(TEXT,)], header=("text",))
    assert console("ascii", "predict", tiny_run, "--input", rows, "--output", tmp_path / "answers.jsonl")[0] == 0
    answers = (tmp_path / "answers.jsonl").read_text(encoding="utf-8")
    assert TEXT in answers


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("cp1252", "café".encode()), ("cp1252", "café".encode("cp1252")), ("ascii", "\ufeffcafé".encode())],
)
def test_predict_reads_utf8_or_the_console_encoding(console, tiny_run, encoding, content):
    code, out, _ = console(encoding, "predict", tiny_run, "--json", stdin=content + b"\n")
    assert code == 0
    assert json.loads(out)["text"] == "café"


def test_predict_refuses_input_in_another_encoding(console, tiny_run):
    code, _, err = console("utf-8", "predict", tiny_run, stdin=b"fine\ncaf\xe9\n")
    assert code == 2
    assert b"standard input, line 2: byte 4 (0xe9) is not UTF-8" in err


def test_predict_reads_undecodable_arguments(console, tiny_run):
    code, out, _ = console(
        "utf-8", "predict", tiny_run, "--json", os.fsencode("café").decode("ascii", "surrogateescape")
    )
    assert code == 0
    assert json.loads(out)["text"] == "café"
    code, _, err = console("utf-8", "predict", tiny_run, "caf\udce9")
    assert code == 2
    assert b"text 1: not UTF-8" in err


def test_chat_works_on_any_console(console, tiny_dialogue_run):
    code, out, _ = console("ascii", "chat", tiny_dialogue_run, stdin="the é nest\n".encode())
    assert code == 0
    assert out.decode("ascii") == "use ?\n"


def test_errors_print_on_any_console():
    done = tfhub_ft("predict", "é→.txt", "a text", PYTHONIOENCODING="cp1252", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 2
    assert "not found" in done.stderr


def test_error_handler_of_the_user_is_kept():
    done = subprocess.run(
        [sys.executable, "-c", "from tfhub_ft.utils.console import prepare_streams\nprepare_streams()\nprint('é')"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii:xmlcharrefreplace"},
    )
    assert done.stdout == b"&#233;\n"
