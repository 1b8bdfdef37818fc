import pytest

from tfhub_ft.settings import TextSettings
from tfhub_ft.training.tune import parse_search, tune
from tfhub_ft.utils.errors import InputError


def test_parse_search_returns_ranges_and_choices():
    assert parse_search(["learning-rate=1e-5..3e-4", "epochs=1..4", "freeze=none, 1"], TextSettings()) == {
        "learning_rate": ("range", [1e-5, 3e-4]),
        "epochs": ("range", [1, 4]),
        "freeze": ("choice", ["none", "1"]),
    }
    assert parse_search(["recompute=true,false"], TextSettings()) == {"recompute": ("choice", [True, False])}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat=1..2", "SETTING=LOW..HIGH"),
        ("learning_rate", "SETTING=LOW..HIGH"),
        ("learning_rate=fast..slow", "'fast' is not a number"),
        ("learning_rate=3e-4..1e-5", "below the second"),
        ("epochs=0..3", "--epochs 0: must be at least 1"),
        ("freeze=none..all", "a range needs a numeric setting"),
        ("precision=float32,int4", "--precision int4: must be one of"),
        ("recompute=yes,no", "true or false"),
    ],
)
def test_parse_search_names_an_invalid_setting(text, message):
    with pytest.raises(InputError, match=message):
        parse_search([text], TextSettings())


def test_tune_refuses_to_vary_the_model_of_an_earlier_run(tiny_run, tmp_path):
    search = ["dropout=0,0.1", "encoder=minilm-l6,bert-base-uncased"]
    with pytest.raises(InputError, match=r"^--encoder minilm-l6: the run .*tiny has .*; leave the option out"):
        tune("sentiment", from_run=tiny_run, search=search, output_dir=tmp_path / "search")
    assert not (tmp_path / "search").exists()
