import re

import numpy as np
import pytest
import tensorflow as tf

import tfhub_ft
from tests.unit.utils.test_keras_compat import SOURCES, run
from tfhub_ft.recipe import load_recipe

TEXTS = ["good film", "the food was bad"]


TARGETS = {
    "sentiment": np.array([0, 1]),
    "intent": np.array([1, -1]),
    "multilabel": np.array([[1, 0, 1], [0, 1, 0]]),
    "pair": np.array([0, 1]),
    "similarity": np.array([[0.2], [0.8]]),
    "retrieval": np.array([0, 1]),
    "ner": np.array([[-1, 1, 2, -1, -1, -1], [-1, 0, 1, 0, 0, -1]]),
    "qa": np.array([[4, 5], [5, 5]]),
    "adapt": np.zeros(2),
    "dialogue": np.zeros(2),
}


def registered_names():
    pattern = re.compile(r'register_keras_serializable\("tfhub_ft"\)\nclass (\w+)')
    return sorted(name for path in SOURCES.rglob("*.py") for name in pattern.findall(path.read_text(encoding="utf-8")))


@pytest.mark.sample
@pytest.mark.parametrize("imports", ["import tfhub_ft, keras", "import keras, tfhub_ft"])
def test_registry_finds_every_registered_class(imports):
    names = registered_names()
    assert {"HubEncoder", "ClassificationHead", "InBatchNegatives", "FusedAdamW", "ByteLevelTokenizer"} <= {*names}
    script = f"""{imports}
import json, sys
find = keras.saving.get_registered_object
imported = [name for name in sys.modules if name.startswith("tfhub_ft.")]
found = {{name: getattr(find("tfhub_ft>" + name), "__name__", None) for name in sys.argv[1:]}}
print(json.dumps([imported, found, find("tfhub_ft>Nothing"), find("HubEncoder")]))
"""
    imported, found, unknown, without_package = run(script, *names)
    assert imported == ["tfhub_ft.utils", "tfhub_ft.utils.keras_compat", "tfhub_ft.utils.version"]
    assert found == {name: name for name in names}
    assert unknown is without_package is None


def test_registry_imports_only_needed_modules():
    script = """import json, sys, keras, tfhub_ft
keras.saving.get_registered_object("tfhub_ft>WindowPreprocessor")
print(json.dumps("keras_hub" in sys.modules))
"""
    assert run(script) is False


def compiled_network(name, tiny_pair, tiny_preset):
    """Return the network of a recipe, compiled and trained for a step, and its tokens."""
    from tfhub_ft.training.optimizer import build_optimizer

    recipe = load_recipe(name)
    options = {"language_model": str(tiny_preset)} if name == "dialogue" else {"encoder": str(tiny_pair)}
    settings = recipe.settings.replaced({**options, "seq_length": 250 if name == "dialogue" else 16})
    model = recipe.build(settings, ["a", "b", "c"] if name in ("intent", "multilabel", "ner") else ["a", "b"])
    texts = TEXTS if len(recipe.task.fields) == 1 and name not in ("retrieval", "dialogue") else [TEXTS, TEXTS[::-1]]
    tokens = {key: np.asarray(ids) for key, ids in model.get_layer("preprocessor")(texts).items()}
    network = model.get_layer("token_model")
    optimizer = build_optimizer(
        learning_rate=1e-3, warmup=0.1, total_steps=10, weight_decay=0.01, clip_norm=1.0, rates={"bias": 0.5}
    )
    # Faster than tracing a graph.
    network.compile(optimizer, **recipe.compile_arguments(settings, TARGETS[name]), run_eagerly=True)
    network.train_on_batch(tokens, TARGETS[name])
    return network, tokens


@pytest.mark.slow
def test_compiled_models_reload_with_the_same_scores(tiny_pair, tiny_preset, tmp_path):
    expected = {}
    for name, targets in TARGETS.items():
        network, tokens = compiled_network(name, tiny_pair, tiny_preset)
        expected[name] = network.evaluate(tokens, targets, return_dict=True, verbose=0)
        network.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", targets=targets, **tokens)
    script = """import json, sys, pathlib, keras, numpy as np, tfhub_ft
found = {}
for file in pathlib.Path(sys.argv[1]).glob("*.keras"):
    rows = dict(np.load(file.with_suffix(".npz")))
    targets, model = rows.pop("targets"), keras.models.load_model(file)
    assert int(model.optimizer.iterations) == 1
    found[file.stem] = model.evaluate(rows, targets, return_dict=True, verbose=0)
    model.train_on_batch(rows, targets)
print(json.dumps(found))
"""
    found = run(script, tmp_path)
    assert found.keys() == expected.keys()
    for name, scores in expected.items():
        assert found[name] == pytest.approx(scores, abs=1e-5), name


def test_run_loads_with_keras_alone(tiny_run):
    script = """import json, sys, tfhub_ft, keras, tensorflow as tf
model = keras.models.load_model(sys.argv[1])
print(json.dumps(model.predict(tf.constant(["good film"]), verbose=0).tolist()))
"""
    expected = tfhub_ft.Run(tiny_run).load_model().predict(tf.constant(["good film"]), verbose=0)
    np.testing.assert_allclose(run(script, tiny_run / "model.keras"), expected, atol=1e-6)
