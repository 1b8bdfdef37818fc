import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.inference.batching import make_predict_fn
from tfhub_ft.inference.runtimes.base import Runtime
from tfhub_ft.inference.runtimes.keras import KerasRuntime
from tfhub_ft.inference.runtimes.model import RuntimeModel
from tfhub_ft.recipe import load_recipe
from tfhub_ft.utils.errors import RunError

MODELS = {
    "sentiment": ({"num_classes": 2}, ["negative", "positive"], [("good film",), ("a bad room and bad food",)]),
    "similarity": ({}, ["0", "5"], [("good film", "a good film"), ("bad room", "the food")]),
    "regression": ({}, ["3.0", "4.5"], [("good film",), ("bad room and bad food",)]),
    "ner": ({"num_classes": 3}, ["O", "B-PER", "I-PER"], [("good film in the city",), ("bad",)]),
    "qa": ({}, [], [("what is good?", "the film is good"), ("where?", "in the city")]),
}


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tiny_pair):
    recipe, (arguments, labels, rows) = load_recipe(request.param), MODELS[request.param]
    return recipe.build_model(encoder=str(tiny_pair), seq_length=32, **arguments), recipe.task, labels, rows


@pytest.mark.parametrize("reads_texts", [True, False])
def test_runtime_model_equals_the_keras_model(trained, reads_texts):
    model, task, labels, rows = trained
    runtime = KerasRuntime(model, task, labels, {})
    description = {"labels": labels, "decision": {}, "inputs": task.fields}
    preprocessor = model.get_layer("preprocessor")
    runtime_model = RuntimeModel(runtime, task, description, lambda: preprocessor, reads_texts=reads_texts)
    expected = make_predict_fn(task, model, labels, {})(rows)
    for predictions in (runtime_model.predict(rows), runtime_model.predict_and_score(rows, None)[0]):
        assert [list(each) for each in predictions] == [list(each) for each in expected]
    # Token classification is scored on words that are given.
    words = [tuple(row[0].split()) for row in rows] if task.name == "entities" else rows
    tokens = task.encode(preprocessor, words)
    _, logits = runtime_model.predict_and_score(rows, tokens)
    actual, wanted = (tf.nest.flatten(list(each)) for each in (logits, task.make_score_fn(model)(tokens)))
    for one, other in zip(actual, wanted, strict=True):
        assert one == other if isinstance(one, str) else np.allclose(one, other, atol=1e-5)


class BrokenRuntime(Runtime):
    def __call__(self, batch, signature="tokens"):
        raise RunError("no such file")


def test_runtime_model_raises_the_error_of_its_runtime(trained):
    model, task, labels, rows = trained
    description = {"labels": labels, "decision": {}, "inputs": task.fields}
    for reads_texts in (True, False):
        preprocessor = model.get_layer("preprocessor")
        runtime_model = RuntimeModel(
            BrokenRuntime(None), task, description, lambda p=preprocessor: p, reads_texts=reads_texts
        )
        with pytest.raises(RunError, match="^no such file$"):
            runtime_model.predict(rows)
