import click
import pytest

from tfhub_ft.cli.param_types import ENCODER, LANGUAGE_MODEL, NAMED, PRETRAINED, RECIPE, STUDENT


@pytest.mark.parametrize(
    ("kind", "incomplete", "name"),
    [
        (RECIPE, "senti", "sentiment"),
        (ENCODER, "minilm-l6", "minilm-l6"),
        (LANGUAGE_MODEL, "smollm2-135m", "smollm2-135m-instruct"),
        (PRETRAINED, "smollm2-135m", "smollm2-135m-instruct"),
        (STUDENT, "lay", "layers:"),
    ],
)
def test_name_completes_known_names(kind, incomplete, name):
    assert name in [item.value for item in kind.shell_complete(None, None, incomplete)]


def test_name_completes_a_path_otherwise():
    (item,) = RECIPE.shell_complete(None, None, "./mi")
    assert (item.value, item.type) == ("./mi", "file")


@pytest.mark.parametrize("kind", [RECIPE, *NAMED.values()])
def test_name_accepts_any_word(kind):
    assert isinstance(kind, click.Path)
    assert kind.convert("no/such/path", None, None) == "no/such/path"
