"""Recipes of one's own: a copy, and the example of ADD-RECIPE.md."""

import json
import re
from pathlib import Path

import pytest

import tfhub_ft
from tests.conftest import BAD, GOOD, TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.recipe import RECIPES, copy_recipe, load_recipe
from tfhub_ft.utils.errors import InputError

GUIDE = Path(__file__).parents[3] / "recipes" / "ADD-RECIPE.md"


@pytest.mark.parametrize("name", RECIPES)
def test_a_copy_is_the_recipe_under_the_files_name(tmp_path, name):
    copied = load_recipe(str(copy_recipe(name, tmp_path / "mine.py")))
    recipe = load_recipe(name)
    assert copied.name == "mine"
    assert (copied.demo, copied.task) == (recipe.demo, recipe.task)
    assert copied.settings.as_dict() == recipe.settings.as_dict()
    text = (tmp_path / "mine.py").read_text()
    assert "tfhub-ft train ./mine.py" in text
    assert f"tfhub-ft train {name}" not in text
    assert "import mine\n" in text


@pytest.mark.slow
def test_a_copy_trains_and_its_run_answers(tiny_pair, reviews_csv, tmp_path):
    file = copy_recipe("sentiment", tmp_path / "mine.py")
    run = tfhub_ft.train(
        file, data=reviews_csv, encoder=tiny_pair, output_dir=tmp_path / "run", **{**TINY_SETTINGS, "epochs": 1}
    )
    assert tfhub_ft.predict(run.path, ["a good film"])[0]["label"] in ("negative", "positive")


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("spom", "mine.py", "did you mean spam"),
        ("spam", "mine.txt", "must be named like a Python module"),
        ("spam", "my-spam.py", "must be named like a Python module"),
        ("spam", "class.py", "must be named like a Python module"),
        ("spam", "none/mine.py", "there is no folder"),
        ("spam", "there.py", "already exists"),
        ("spam", "topic.py", "a recipe is called topic already"),
    ],
)
def test_a_copy_that_cannot_be_made_says_why(tmp_path, name, file, message):
    (tmp_path / "there.py").write_text("mine")
    with pytest.raises(InputError, match=message):
        copy_recipe(name, tmp_path / file)
    assert [path.name for path in tmp_path.iterdir()] == ["there.py"]
    assert (tmp_path / "there.py").read_text() == "mine"


def guide_run(encoder, folder):
    """A run of the guide's example in a folder, and two texts for it."""
    example = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[1]
    (folder / "stars.py").write_text(example)
    stars = {"positive": "5", "negative": "1"}
    rows = [(text, stars[label]) for text, label in make_reviews(160)]
    write_csv(folder / "reviews.csv", rows, header=("text", "rating"))
    settings = {**TINY_SETTINGS, "epochs": 12, "learning_rate": 2e-3}
    run = tfhub_ft.train(folder / "stars.py", encoder=encoder, output_dir=folder / "run", **settings)
    return run, [f"{GOOD[0]} film {GOOD[1]}", f"{BAD[0]} film {BAD[1]}"]


@pytest.mark.slow
def test_the_guides_example_trains_scores_and_answers(tiny_pair, tmp_path):
    run, texts = guide_run(tiny_pair, tmp_path)
    good, bad = (answer["score"] for answer in tfhub_ft.predict(run, texts))
    assert good > 3 > bad
    assert tfhub_ft.evaluate(run, data=tmp_path / "reviews.csv")["spearman"] > 0.5


@pytest.mark.slow
def test_the_guides_example_is_exported(tiny_pair, tmp_path):
    run, texts = guide_run(tiny_pair, tmp_path)
    exported = tfhub_ft.export(run, output_dir=tmp_path / "export")
    good = tfhub_ft.predict(run, texts)[0]["score"]
    assert json.loads((exported / "1" / "assets.extra/task.json").read_text())["inputs"] == ["text"]
    assert tfhub_ft.predict(exported, texts)[0]["score"] == pytest.approx(good, abs=1e-3)
