"""JSON and YAML files, read within limits."""

import time

import pytest

from tfhub_ft.utils.documents import check_shape, read_json, read_yaml
from tfhub_ft.utils.errors import InputError

BOMB = "a: &a [x, x]\n" + "".join(
    f"{after}: &{after} [*{before}, *{before}]\n" for before, after in zip("abcdefghijkl", "bcdefghijklm")
)


@pytest.fixture
def refused(tmp_path):
    def read(reader, content, shape=object):
        path = tmp_path / "one.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError) as caught:
            reader(path, shape)
        message = str(caught.value)
        assert message.startswith(f"{path}: cannot be read (") and "\n" not in message
        return message

    return read


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 9_000, "nested too deeply"),
        ("{a: " * 100, "nested too deeply"),
        ("a: " + "9" * 5_000, "5000 digits"),
        ("day: 2024-13-45", "month must be in 1..12"),
        ("a: [1,", "expected"),
        ("a: \0", "not allowed"),
        (b"\xff", "codec can't decode"),
        (BOMB, "more than 16 aliases"),
        ("a: 1\nb: {c: 1, c: 2}", "'c' is repeated"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_read_yaml_rejects_invalid_content(refused, content, message):
    began = time.perf_counter()
    assert message in refused(read_yaml, content)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 200_000, "nested too deeply"),
        ("9" * 5_000, "5000 digits"),
        ('{"a": ', "Expecting value"),
        ("", "Expecting value"),
        (b"\xff", "codec can't decode"),
    ],
)
def test_read_json_rejects_invalid_content(refused, content, message):
    assert message in refused(read_json, content)


def test_read_json_rejects_large_and_missing_files(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("tfhub_ft.utils.documents.MAX_BYTES", 10)
    assert "it has 11 bytes, more than 10" in refused(read_json, "[1, 2, 3, 4")
    with pytest.raises(InputError, match="none.json: No such file or directory"):
        read_json(tmp_path / "none.json")


def test_read_yaml_accepts_a_few_aliases(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(path, {str: [int]}) == {"a": [1, 2], "b": [1, 2]}
    path.write_text("")
    assert read_yaml(path) is None


@pytest.mark.parametrize(
    ("value", "shape", "message"),
    [
        ([["a"], "b"], [str], "entry 1 of it: expected str, got list"),
        ({"a": True}, {str: float}, "'a' of it: expected float, got bool"),
        ({}, {"x": int}, "it lacks 'x'"),
        ([1], dict, "it: expected dict, got list"),
        (None, (str, int), "it: expected str or int, got NoneType"),
        ({"a": [{"b": "c"}]}, {"a": [{"b": int}]}, "'b' of entry 1 of 'a' of it: expected int, got str"),
    ],
)
def test_check_shape_names_the_difference(value, shape, message):
    with pytest.raises(ValueError) as caught:
        check_shape(value, shape, "it")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "shape"),
    [(["a"], [str]), ({"a": 1, "b": 2.5}, {str: float}), ({"x": 1, "y": []}, {"x": int}), (True, bool), (None, object)],
)
def test_check_shape_accepts_matching_values(value, shape):
    check_shape(value, shape)
