import dataclasses
import json
import typing

import numpy as np
import pytest
import yaml

from tfhub_ft.settings import (
    DialogueSettings,
    Distillation,
    Group,
    IntentSettings,
    LongTextSettings,
    MultilabelSettings,
    PairSettings,
    ScoredTextSettings,
    Settings,
    TextSettings,
    TwoClassSettings,
)
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize("settings", [MultilabelSettings, DialogueSettings, TwoClassSettings, Distillation])
def test_every_field_has_help_and_a_group(settings):
    for field in dataclasses.fields(settings):
        assert field.metadata["help"].endswith("."), field.name
        assert field.metadata["group"] in typing.get_args(Group), field.name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": -1}, "--epochs -1: must be at least 1"),
        ({"epochs": 0}, "--epochs 0"),
        ({"epochs": 1.5}, "--epochs 1.5: must be an integer"),
        ({"epochs": True}, "--epochs True"),
        ({"seq_length": 2}, "--seq-length 2: must be at least 3"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"batch_tokens": 100}, "--batch-tokens 100: must be at least --seq-length, which is 128"),
        ({"dropout": 1.0}, "--dropout 1.0: must be at most 0.9"),
        ({"learning_rate": "fast"}, "--learning-rate 'fast': must be a number"),
        ({"learning_rate": 10**400}, "must be a number"),
        ({"learning_rate": float("nan")}, "--learning-rate nan: must be a finite number"),
        ({"learning_rate": float("inf")}, "--learning-rate inf: must be a finite number"),
        ({"precision": "half"}, "--precision half: must be one of auto, float32, bfloat16"),
        ({"track": "comet"}, "--track comet: must be one of mlflow, wandb"),
        ({"encoder": 5.0}, "--encoder 5.0: must be a string"),
        ({"encoder": None}, "--encoder None: must be a string"),
        ({"seed": -3}, "--seed -3"),
        ({"data": "a.csv", "train": "b.csv"}, "either --data or those files"),
        ({"test": "b.csv"}, "--test: requires --train"),
    ],
)
def test_settings_reject_invalid_values(values, message):
    with pytest.raises(InputError) as caught:
        Settings(**values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"long_texts": "window"}, "--long-texts window: must be one of truncate, head-tail, windows"),
        ({"overlap": 4}, "--overlap 4: unused without --long-texts windows; add it, or omit --overlap"),
        (
            {"long_texts": "head-tail", "window_pooling": "max"},
            "--window-pooling max: unused without --long-texts windows; add it, or omit --window-pooling",
        ),
        ({"max_windows": 8}, "--max-windows 8: unused without --long-texts windows; add it, or omit --max-windows"),
        ({"long_texts": "windows", "max_windows": 0}, "--max-windows 0: must be at least 1"),
        ({"long_texts": "windows", "overlap": True}, "--overlap True: must be an integer"),
        ({"long_texts": "windows", "overlap": -1}, "--overlap -1: must be at least 0"),
        ({"long_texts": "windows", "window_pooling": "sum"}, "--window-pooling sum: must be one of mean, max"),
        (
            {"long_texts": "windows", "overlap": 16, "seq_length": 32},
            "--overlap 16: must be at most 15 with --seq-length 32",
        ),
        ({"long_texts": "windows", "strategy": "tpu:name"}, "--long-texts windows: not available with --strategy tpu"),
        (
            {"long_texts": "windows", "jit_compile": True, "padding": "buckets"},
            "--jit-compile: not available with --long-texts windows",
        ),
    ],
)
@pytest.mark.parametrize("settings", [LongTextSettings, TwoClassSettings, MultilabelSettings, ScoredTextSettings])
def test_settings_reject_long_texts(settings, values, message):
    with pytest.raises(InputError) as caught:
        settings(**values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_settings_accept_numpy_scalars():
    assert Settings(seed=np.int64(3)).seed == 3
    assert Settings(learning_rate=np.float32(0.5)).learning_rate == 0.5


def test_settings_convert_numbers_of_yaml():
    assert Settings(learning_rate="5e-5").learning_rate == 5e-5
    assert Settings(weight_decay=0).weight_decay == 0.0


def test_replaced_suggests_similar_names():
    with pytest.raises(InputError, match="mine.yaml: unknown setting 'epoch'; did you mean epochs"):
        Settings().replaced({"epoch": 3}, source="mine.yaml")


def test_replaced_returns_a_copy():
    settings = Settings()
    assert settings.replaced({"epochs": 7}).epochs == 7
    assert settings.epochs == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.json", '{"spam": 5, "ham": 0}'),
        ("weights.yaml", "spam: 5\n'ham': 0.0\n"),
        ("weights.yml", "{ham: '0', spam: 5e0}"),
        ("weights", "ham: 0\nspam: 5"),
    ],
)
def test_class_weight_reads_files(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    for value in (tmp_path / name, str(tmp_path / name)):
        settings = TextSettings(class_weight=value)
        assert settings.class_weight == {"spam": 5.0, "ham": 0.0}
        assert TextSettings(**yaml.safe_load(yaml.safe_dump(settings.as_dict()))) == settings


def test_class_weight_takes_mappings_and_json_objects():
    expected = {"1": 2.0, "é": 0.5}
    assert TextSettings(class_weight={1: np.float32(2), "e\u0301": 0.5}).class_weight == expected
    assert TextSettings(class_weight=json.dumps({"1": 2, "é": 0.5})).class_weight == expected
    assert TextSettings(class_weight="balanced").class_weight == "balanced"


BAD_WEIGHTS = {
    "spam: -1": "the weight of 'spam' is -1; must be a number of at least 0",
    "spam: .nan": "the weight of 'spam' is nan",
    "spam: .inf": "the weight of 'spam' is inf",
    "spam: many": "the weight of 'spam' is 'many'",
    "spam:": "the weight of 'spam' is None",
    "spam: true": "the weight of 'spam' is True",
    "spam: [1]": r"the weight of 'spam' is \[1\]",
    "spam: 0\nham: 0": "at least one label must have a weight above 0",
    "{}": "at least one label must have a weight above 0",
    "spam: 1\nspam: 2": "'spam' is repeated",
    "- spam": "expected a weight by label, .* got a list",
    "": "expected a weight by label, .* got None",
    "a: b: c": "cannot be read",
}


@pytest.mark.parametrize("content", BAD_WEIGHTS)
def test_class_weight_refuses_bad_files(tmp_path, content):
    path = tmp_path / "weights.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=f"^--class-weight {path}.*{BAD_WEIGHTS[content]}") as caught:
        TextSettings(class_weight=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("balancd", "--class-weight balancd: not found; did you mean balanced"),
        ("weights.json", "must be none, balanced or a JSON or YAML file of weights"),
        ('{"a": }', "not a JSON object"),
        (5, "got an int"),
        (None, "got None"),
        ([1, 2], "got a list"),
        (True, "got a bool"),
    ],
)
def test_class_weight_refuses_other_values(value, message):
    with pytest.raises(InputError, match=message):
        TextSettings(class_weight=value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label_smoothing": 1.0}, "--label-smoothing 1.0: must be at most 0.9"),
        ({"label_smoothing": -0.1}, "--label-smoothing -0.1: must be at least 0"),
        ({"focal_gamma": -1}, "--focal-gamma -1.0: must be at least 0"),
        ({"wanted_precision": 1}, "--wanted-precision 1.0: must be at most 0.999"),
        ({"patience": -1}, "--patience -1: must be at least 0"),
        ({"monitor": 5.0}, "--monitor 5.0: must be a string"),
    ],
)
def test_label_settings_reject_values_out_of_range(values, message):
    with pytest.raises(InputError, match=message):
        TextSettings(**values)


def test_settings_of_labels_are_those_of_their_kind():
    two_labels, labels = {"positive_label", "wanted_precision"}, {"class_weight", "focal_gamma", "label_smoothing"}
    for settings in (TextSettings, TwoClassSettings, PairSettings):
        assert two_labels | labels <= set(settings.names())
    for settings in (IntentSettings, MultilabelSettings):
        assert labels <= set(settings.names())
        assert not two_labels & set(settings.names())


def test_row_names_are_those_of_rows():
    names = set(TextSettings.row_names())
    assert {"weight_column", "positive_label", "min_label_rows", "seed"} <= names
    assert not names & {"class_weight", "focal_gamma", "wanted_precision", "monitor", "epochs"}
