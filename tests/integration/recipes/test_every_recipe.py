"""All recipes on their demo rows with the real encoder: train, evaluate, predict and export."""

import pytest

import tfhub_ft
from tfhub_ft.recipe import RECIPES, load_recipe

INPUTS = {
    ("text",): ["A short text about a film and a bank."],
    ("sentence1", "sentence2"): [("It rains in the park.", "The park is wet.")],
    ("question", "context"): [("Who sang?", "In the evening Mary sang for the guests.")],
    ("prompt",): ["Good morning, how are you?"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipe_trains_evaluates_predicts_and_exports(name, tmp_path):
    recipe = load_recipe(name)
    run = tfhub_ft.train(name, output_dir=tmp_path / "run", epochs=1)
    assert run.metrics["test"]["rows"] == tfhub_ft.evaluate(run, data=recipe.demo)["rows"] - sum(
        run.splits[split]["rows"] for split in ("train", "validation")
    )
    exported = tfhub_ft.export(run, output_dir=tmp_path / "export")
    texts = ["The [MASK] is cold."] if name == "adapt" else INPUTS[recipe.task.fields]
    by_run, by_export = (tfhub_ft.predict(model, texts) for model in (run, exported))
    assert plain(by_run) == plain(by_export)


def plain(predictions):
    """Return predictions without their numbers, which differ by rounding."""
    return [{name: value for name, value in prediction.items() if isinstance(value, str)} for prediction in predictions]
