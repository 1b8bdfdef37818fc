"""Checks of the values of rows."""

import pytest

from tests.unit.data.test_rows import AWKWARD
from tfhub_ft.data.columns import check_label, check_text


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_check_text_returns_texts_unchanged(text):
    assert check_text(text) == text


@pytest.mark.parametrize("value", ["", " ", "\n\t", "\u3000", None, 1, 1.5, True, [], {}, b"bytes", "\ud83c"])
def test_check_text_rejects_other_values(value):
    with pytest.raises(ValueError, match=r"^(is|contains) "):
        check_text(value)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("spam", "spam"),
        (" spam\t", "spam"),
        ("1", "1"),
        (1, "1"),
        (0, "0"),
        (-3, "-3"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (True, "true"),
        (False, "false"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u00a0spam\u2003", "spam"),
        ("None", "None"),
        ("NA", "NA"),
        ("null", "null"),
    ],
)
def test_check_label_returns_a_string(value, label):
    assert check_label(value) == label


@pytest.mark.parametrize(
    "value", ["", "  ", "nan", " NaN ", None, 0.5, float("nan"), float("inf"), ["spam"], {"a": 1}, b"spam", "\udfff"]
)
def test_check_label_rejects_other_values(value):
    with pytest.raises(ValueError, match=r"^(is|contains) "):
        check_label(value)
