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
    "multilabel": ("WeightedBinaryCrossEntropy", []),
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


def test_build_rejects_long_texts_that_the_recipe_ignores():
    sentiment = load_recipe("sentiment")
    recipe = dataclasses.replace(sentiment, build_model=lambda encoder, num_classes: None)
    for long_texts in ("head-tail", "windows"):
        with pytest.raises(InputError, match=f"^--long-texts {long_texts}: build_model of sentiment does not take it"):
            recipe.build(sentiment.settings.replaced({"long_texts": long_texts}), ["a", "b"])
    assert recipe.build(sentiment.settings, ["a", "b"]) is None


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


LABELED = ("sentiment", "spam", "phishing", "topic", "intent", "pair", "multilabel", "ner")
TRAINING_TARGETS = {
    "multilabel": np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]], "float32"),
    "ner": [np.array([0, 0, 1]), np.array([0])],
}


@pytest.mark.parametrize("name", LABELED)
def test_loss_of_each_recipe_with_labels_takes_all_options(name):
    recipe, labels = load_recipe(name), ["O", "B-x"] if name == "ner" else ["a", "b"]
    targets = TRAINING_TARGETS.get(name, np.array([0, 0, 0, 1]))
    options = {"class_weight": "balanced", "focal_gamma": 1.5, "label_smoothing": 0.1}
    loss = recipe.compile_arguments(recipe.settings.replaced(options), targets, labels)["loss"]
    expected = {"multilabel": [1 / 3, 3], "intent": [2 / 3, 2]}.get(name, [2 / 3, 2])
    assert loss.weights == pytest.approx(expected)
    assert (loss.focal_gamma, loss.label_smoothing) == (1.5, 0.1)
    settings = recipe.settings.replaced({"class_weight": {labels[1]: 7}})
    assert recipe.compile_arguments(settings, targets, labels)["loss"].weights == [1.0, 7.0]
    settings = recipe.settings.replaced({"class_weight": "none"})
    assert recipe.compile_arguments(settings, targets, labels)["loss"].weights is None


COPIES = {
    "def loss()": ("class_weight", {"a": 2}, "lacks the argument class_weights"),
    "def loss(class_weights=None)": ("label_smoothing", 0.1, "lacks the argument label_smoothing"),
    "def loss(targets, class_weight)": ("class_weight", {"a": 2}, "lacks the argument class_weights"),
}


@pytest.mark.parametrize("signature", COPIES)
def test_check_refuses_settings_that_the_loss_of_a_copy_ignores(signature):
    scope: dict = {}
    exec(f"{signature}: return 'mse'", scope)  # noqa: S102
    recipe = dataclasses.replace(load_recipe("topic"), loss=scope["loss"], name="mine")
    name, value, message = COPIES[signature]
    recipe.check(recipe.settings)
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')}: the loss of recipe mine {message}"):
        recipe.check(recipe.settings.replaced({name: value}))


def test_copies_that_balance_labels_themselves_get_the_setting():
    def loss(targets, class_weight):
        return class_weight, targets.tolist()

    recipe = dataclasses.replace(load_recipe("topic"), loss=loss)
    settings = recipe.settings.replaced({"class_weight": "balanced"})
    recipe.check(settings)
    assert recipe.compile_arguments(settings, np.array([0, 1]), ["a", "b"])["loss"] == ("balanced", [0, 1])


def test_build_refuses_weights_of_unknown_labels():
    recipe = load_recipe("topic")
    settings = recipe.settings.replaced({"class_weight": {"sport": 2}})
    with pytest.raises(InputError, match="--class-weight: label 'sport' not found .* labels are business, sports; did"):
        recipe.build(settings, ["business", "sports"])
