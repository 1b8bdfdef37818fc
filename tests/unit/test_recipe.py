import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from tfhub_ft.recipe import RECIPES, copy_recipe, load_recipe
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize("name", RECIPES)
def test_load_recipe_loads_each_recipe(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.demo.is_file()
    assert recipe.summary.endswith(".")


LOSSES = {
    "sentiment": ("WeightedCrossEntropy", ["accuracy"]),
    "topic": ("WeightedCrossEntropy", ["accuracy"]),
    "spam": ("WeightedCrossEntropy", ["accuracy"]),
    "phishing": ("WeightedCrossEntropy", ["accuracy"]),
    "intent": ("WeightedCrossEntropy", ["accuracy"]),
    "pair": ("WeightedCrossEntropy", ["accuracy"]),
    "similarity": ("MeanSquaredError", []),
    "regression": ("MeanSquaredError", []),
    "multilabel": ("BinaryCrossentropy", []),
    "ner": ("TagCrossEntropy", []),
    "qa": ("SpanCrossEntropy", []),
    "retrieval": ("InBatchNegatives", ["in_batch_recall"]),
    "dialogue": ("GuessedCrossEntropy", ["token_accuracy"]),
    "adapt": ("GuessedCrossEntropy", ["masked_accuracy"]),
}


@pytest.mark.parametrize("name", RECIPES)
def test_compile_arguments_of_each_recipe(name):
    recipe = load_recipe(name)
    compiled = recipe.compile_arguments(recipe.settings, np.array([0, 0, 1]))
    assert (type(compiled["loss"]).__name__, [each.name for each in compiled["metrics"]]) == LOSSES[name]
    assert compiled["loss"].get_config().get("from_logits", True)


def test_build_rejects_recipe_without_loss():
    recipe = dataclasses.replace(load_recipe("spam"), loss=None)
    with pytest.raises(InputError, match=r"spam: the RECIPE lacks a loss, as in tfhub_ft 0\.1; .*ADD-RECIPE\.md"):
        recipe.build(recipe.settings, ["a", "b"])


def test_compile_arguments_passes_settings_by_name():
    recipe = load_recipe("spam")
    settings = recipe.settings.replaced({"focal_gamma": 2.0})
    loss = recipe.compile_arguments(settings, np.array([0, 0, 0, 1]))["loss"]
    assert (loss.focal_gamma, loss.weights) == (2.0, pytest.approx([2 / 3, 2]))


def test_load_recipe_accepts_name_of_version_0_1(tmp_path):
    import tfhub_ft.recipes

    recipe = load_recipe("chat")
    assert recipe.name == "retrieval"
    assert recipe.names == ("retrieval", "chat")
    assert tfhub_ft.recipes.chat.RECIPE.task == recipe.task
    assert "chat" not in RECIPES
    assert load_recipe(copy_recipe("chat", tmp_path / "mine.py")).demo == recipe.demo


def test_recipes_fit_on_a_page_and_use_public_names():
    for name in RECIPES:
        text = Path(load_recipe(name).build_model.__code__.co_filename).read_text(encoding="utf-8")
        assert 60 <= len(text.splitlines()) <= 110, name
        assert set(re.findall(r"^(?:def|RECIPE) ?(\w*)", text, re.MULTILINE)) == {"build_model", "loss", "metrics", ""}
        # Copies of recipes rely on public names only.
        assert not re.search(r"from tfhub_ft\.(?!recipes )", text), name


def test_load_recipe_suggests_similar_names():
    with pytest.raises(InputError, match="unknown recipe 'sentimant'; did you mean sentiment"):
        load_recipe("sentimant")
    with pytest.raises(InputError, match="choose one of sentiment"):
        load_recipe("xyz")


def test_load_recipe_reads_python_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import dataclasses\n"
        "from tfhub_ft.recipes import sentiment\n"
        "RECIPE = dataclasses.replace(sentiment.RECIPE, summary='Mine.')\n"
    )
    assert load_recipe(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "not a recipe file; define RECIPE"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("(", "SyntaxError"),
    ],
)
def test_load_recipe_rejects_other_files(tmp_path, content, message):
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_recipe(str(path))
    with pytest.raises(InputError, match="none.py: not found; pass the name"):
        load_recipe(str(tmp_path / "none.py"))


@pytest.mark.parametrize("place", ["module", "build_model"])
def test_load_recipe_names_version_of_old_file(place, tmp_path):
    line = "from tfhub_ft.heads import ClassificationHead\n"
    path = tmp_path / "mine.py"
    path.write_text(
        (line if place == "module" else "")
        + "import dataclasses\nfrom tfhub_ft.recipes import sentiment\n"
        + f"def build_model(num_classes=2):\n    {line}\n"
        + "RECIPE = dataclasses.replace(sentiment.RECIPE, build_model=build_model)\n"
    )
    with pytest.raises(
        InputError, match=r"mine\.py: written for tfhub_ft 0\.1, whose .*'tfhub_ft\.heads'.*docs/reference/api\.md"
    ):
        recipe = load_recipe(path)
        recipe.build(recipe.settings, ["a", "b"])


@pytest.mark.parametrize("name", RECIPES)
def test_recommended_encoders_are_in_catalog(name):
    from tfhub_ft.encoders.catalog import CATALOG
    from tfhub_ft.language_models import presets

    assert set(load_recipe(name).recommended) <= {entry.name for entry in (*CATALOG, *presets.CATALOG)}


@pytest.mark.parametrize("name", ["spam", "phishing"])
def test_balanced_loss_requires_targets(name):
    recipe = load_recipe(name)
    with pytest.raises(ValueError, match="pass the targets of the training rows"):
        recipe.loss(class_weight="balanced")
    recipe.loss(np.array([0, 0, 1]), class_weight="balanced")
    recipe.loss()
