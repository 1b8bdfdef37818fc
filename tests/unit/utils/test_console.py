"""What a terminal, and what a file is shown of a long work."""

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
COLOUR = re.compile(r"\x1b\[(?!0m)[\d;]*m")


def on_a_terminal(**environment):
    """What the script writes to its standard output, and what a terminal sees on its standard error."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    environment = {name: value for name, value in environment.items() if value is not None}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=theirs, env=environment) as it:
        os.close(theirs)
        output = it.stdout.read().decode()
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:
        # So Linux says that the other end is closed.
        pass
    os.close(ours)
    return output, seen.decode()


RESULTS = "result 0\nresult 1\nresult 2\n"


@pytest.mark.parametrize("no_colour", [None, "1"])
def test_a_terminal_shows_a_bar_without_colour_where_there_shall_be_none(no_colour):
    output, seen = on_a_terminal(NO_COLOR=no_colour)
    assert output == RESULTS
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen)
    assert "3/3 rows" in shown
    assert "Scoring" in shown
    assert "nearly done" in seen
    coloured = [code for code in COLOUR.findall(seen) if not re.fullmatch(r"\x1b\[(1|2|3|4|7)m", code)]
    assert bool(coloured) == (no_colour is None)


def test_a_file_gets_plain_lines():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (RESULTS, "Reading ...\nnearly done\n")


def test_nothing_is_shown_where_all_is_hushed():
    assert on_a_terminal(TFHUB_FT_QUIET="1") == (RESULTS, "")


def test_a_table_shows_brackets_as_they_are_and_has_room_in_a_file(capsys):
    label = "[/b] :smile: " + "long " * 7
    scores = {"per_class": {label: {"rows": 3}}, "confusion_matrix": [[3]]}
    print_tables(scores_table({"[red]file": {"rows": 3}}), classes_table(scores))
    shown = capsys.readouterr().out
    assert label.strip() in shown
    assert "[red]file" in shown


def test_warn_prints_even_where_progress_is_quiet(monkeypatch, capsys):
    monkeypatch.setenv("TFHUB_FT_QUIET", "1")
    warn("2 rows are empty")
    assert capsys.readouterr().err == "Warning: 2 rows are empty\n"


def test_recorded_warnings_keeps_each_distinct_warning_once(capsys):
    with recorded_warnings() as outer:
        warn("one")
        with recorded_warnings() as inner:
            warn("two")
            warn("one")
        warn("three")
    warn("four")
    assert (outer, inner) == (["one", "two", "three"], ["two", "one"])


def test_quiet_keeps_no_log_handlers(capfd):
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


def test_control_characters_of_data_do_not_reach_the_terminal(capsys):
    table = Table("label \x1b]0;title\x07")
    table.add_row("a\x1b[31m")
    print_tables(table)
    warn("the label '\x1b[2J\x9b' is rare\tand\nlong")
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err
    assert "label \\x1b]0;title" in output.out
    assert "a\\x1b[31m" in output.out
    assert output.err == "Warning: the label '\\x1b[2J\\x9b' is rare\tand\nlong\n"
