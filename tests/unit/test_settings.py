import dataclasses

import numpy as np
import pytest

from tfhub_ft.settings import Settings, TextSettings
from tfhub_ft.utils.errors import InputError


def test_every_field_is_documented():
    for field in dataclasses.fields(TextSettings):
        assert field.metadata["help"].endswith((".", "...")), field.name


@pytest.mark.parametrize(
    ("given", "message"),
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
def test_a_wrong_value_is_one_clear_line(given, message):
    with pytest.raises(InputError) as caught:
        Settings(**given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_taken():
    assert Settings(seed=np.int64(3)).seed == 3
    assert Settings(learning_rate=np.float32(0.5)).learning_rate == 0.5


def test_numbers_are_taken_as_yaml_gives_them():
    assert Settings(learning_rate="5e-5").learning_rate == 5e-5
    assert Settings(weight_decay=0).weight_decay == 0.0


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(InputError, match="mine.yaml: unknown setting 'epoch'; did you mean epochs"):
        Settings().replaced({"epoch": 3}, source="mine.yaml")


def test_replaced_leaves_the_original():
    settings = Settings()
    assert settings.replaced({"epochs": 7}).epochs == 7
    assert settings.epochs == 3
