"""The examples in the docstrings of recipes run."""

import re
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.recipe import RECIPES, load_recipe


def example(name):
    """Return the section "In Python" of a recipe's docstring."""
    module = __import__(f"tfhub_ft.recipes.{name}", fromlist=[name])
    return textwrap.dedent(re.search(r"\nIn Python:\n\n((?: {4}.*\n|\n)+)", module.__doc__).group(1))


@pytest.fixture(autouse=True)
def eager_functions(request):
    """Run steps eagerly, which takes less time than tracing; the tokenizers of dialogues need a graph."""
    tf.config.run_functions_eagerly(request.getfixturevalue("name") != "dialogue")
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("name", RECIPES)
def test_docstring_example_of_a_recipe_runs(name, tiny_pair, tiny_preset):
    script = example(name)
    for pretrained, tiny in (("minilm-l6", tiny_pair), ("smollm2-135m-instruct", tiny_preset)):
        script = script.replace(f'"{pretrained}"', repr(str(tiny)))
    names = {}
    exec(script, names)
    assert isinstance(names["model"], keras.Model)
    assert load_recipe(name).name == name
    if names["model"].compiled:
        assert int(names["model"].optimizer.iterations) == 1
    else:
        assert np.isfinite(next(value for key, value in names.items() if key in ("logits", "sums"))).all()
