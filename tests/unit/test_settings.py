import dataclasses
import typing

import numpy as np
import pytest

from tfhub_ft.settings import DialogueSettings, Distillation, Group, MultilabelSettings, Settings, TwoClassSettings
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
