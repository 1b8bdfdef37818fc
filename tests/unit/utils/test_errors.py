import pickle

import click
import pytest

from tfhub_ft.cli import main as main_module
from tfhub_ft.utils.errors import InputError, Preempted, RunError


@pytest.mark.parametrize("kind", [InputError, RunError, Preempted])
def test_error_messages_are_one_line(kind):
    error = kind("a.csv: cannot be read (a\n  library's\r\nwords\u2028here); fetch it again\n")
    assert str(error) == "a.csv: cannot be read (a library's words here); fetch it again"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (kind, str(error))


def test_main_reports_library_errors_in_one_line(capsys):
    for error, code in ((InputError("a\nb"), 2), (RuntimeError("a\nb"), 1)):
        assert main_module._report(error) == code
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_main_reports_usage_errors_in_one_line(capsys):
    assert main_module._report(click.UsageError("no such option: --a\nb")) == 2
    assert capsys.readouterr().err == "Error: no such option: --a b\n"
