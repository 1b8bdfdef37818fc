"""What a terminal, and what a file is text of a long work."""

import logging
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.table import Table

from tfhub_ft.evaluation.console_tables import classes_table, scores_table
from tfhub_ft.utils.console import print_tables, quiet, recorded_warnings, warn

SCRIPT = """
from tfhub_ft.utils.console import progress, log, with_bar

with progress("Reading", 3, "rows") as advance:
    for number in range(3):
        advance(1)
        print("result", number)
    log("nearly done")
assert list(with_bar([[1, 2], [3]], "Scoring", 3)) == [[1, 2], [3]]
"""
COLOR = re.compile(r"\x1b\[(?!0m)[\d;]*m")


def run_on_terminal(**environment):
    """Return what the script writes to standard output, and to a terminal as standard error."""
    parent_end, child_end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=child_end, env=environment) as process:
        os.close(child_end)
        output = process.stdout.read().decode()
    terminal = b""
    try:
        while part := os.read(parent_end, 4096):
            terminal += part
    except OSError:
        # Linux raises it when the other end is closed.
        pass
    os.close(parent_end)
    return output, terminal.decode()


RESULTS = "result 0\nresult 1\nresult 2\n"


@pytest.mark.parametrize("no_color", [None, "1"])
def test_progress_shows_bar_on_terminal(no_color):
    output, terminal = run_on_terminal(NO_COLOR=no_color)
    assert output == RESULTS
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", terminal)
    assert "3/3 rows" in text
    assert "Scoring" in text
    assert "nearly done" in terminal
    colored = [code for code in COLOR.findall(terminal) if not re.fullmatch(r"\x1b\[(1|2|3|4|7)m", code)]
    assert bool(colored) == (no_color is None)


def test_progress_prints_plain_lines_to_file():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (RESULTS, "Reading ...\nnearly done\n")


def test_progress_prints_nothing_if_quiet():
    assert run_on_terminal(TFHUB_FT_QUIET="1") == (RESULTS, "")


def test_print_tables_shows_brackets_and_long_labels(capsys):
    label = "[/b] :smile: " + "long " * 7
    scores = {"per_class": {label: {"rows": 3}}, "confusion_matrix": [[3]]}
    print_tables(scores_table({"[red]file": {"rows": 3}}), classes_table(scores))
    text = capsys.readouterr().out
    assert label.strip() in text
    assert "[red]file" in text


def test_warn_prints_even_if_quiet(monkeypatch, capsys):
    monkeypatch.setenv("TFHUB_FT_QUIET", "1")
    warn("2 rows are empty")
    assert capsys.readouterr().err == "Warning: 2 rows are empty\n"


def test_recorded_warnings_keeps_distinct_warnings(capsys):
    with recorded_warnings() as outer:
        warn("one")
        with recorded_warnings() as inner:
            warn("two")
            warn("one")
        warn("three")
    warn("four")
    assert (outer, inner) == (["one", "two", "three"], ["two", "one"])


def test_quiet_restores_log_handlers(capfd):
    handlers = list(logging.root.handlers)
    logging.root.handlers.clear()
    try:
        with quiet():
            logging.basicConfig(force=True)
            logging.warning("inside")
        logging.getLogger("library").warning("outside")
    finally:
        logging.root.handlers[:] = handlers
    assert capfd.readouterr().err == "outside\n"


def test_output_escapes_control_characters(capsys):
    table = Table("label \x1b]0;title\x07")
    table.add_row("a\x1b[31m")
    print_tables(table)
    warn("the label '\x1b[2J\x9b' is rare\tand\nlong")
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err
    assert "label \\x1b]0;title" in output.out
    assert "a\\x1b[31m" in output.out
    assert output.err == "Warning: the label '\\x1b[2J\\x9b' is rare\tand\nlong\n"
