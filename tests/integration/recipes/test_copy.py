"""Your own recipes: a copy, and the example of ADD-RECIPE.md."""

import json
import re
import shutil
from pathlib import Path

import pytest

import tfhub_ft
from tests.conftest import BAD, GOOD, TINY_SETTINGS, make_reviews, write_csv
from tfhub_ft.recipe import RECIPES, copy_recipe, load_recipe
from tfhub_ft.utils.errors import InputError

RECIPES_FOLDER = Path(__file__).parents[3] / "recipes"
GUIDE = RECIPES_FOLDER / "ADD-RECIPE.md"


@pytest.mark.parametrize("name", RECIPES)
def test_copy_recipe_is_named_after_its_file(tmp_path, name):
    copied = load_recipe(str(copy_recipe(name, tmp_path / "mine.py")))
    recipe = load_recipe(name)
    assert copied.name == "mine"
    assert (copied.demo, copied.task) == (recipe.demo, recipe.task)
    assert copied.settings.as_dict() == recipe.settings.as_dict()
    assert (tmp_path / "mine.py").read_bytes() == (RECIPES_FOLDER / f"{name}.py").read_bytes()


def test_edited_copy_trains_and_predicts_from_other_folders(tiny_pair, reviews_csv, tmp_path, monkeypatch):
    for folder in ("home", "work"):
        (tmp_path / folder).mkdir()
    file = copy_recipe("sentiment", tmp_path / "home" / "mine.py")
    text = file.read_text(encoding="utf-8")
    edited = text.replace("    head = Class", "    options['freeze'] = 'all'\n    head = Class")
    edited = edited.replace("TextSettings()", "TextSettings(seq_length=20)")
    edited = edited.replace("return WeightedCrossEntropy()", "return WeightedCrossEntropy(focal_gamma=1.0)")
    file.write_text(edited, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "work")
    settings = {name: value for name, value in TINY_SETTINGS.items() if name != "seq_length"} | {"epochs": 1}
    run = tfhub_ft.train("../home/mine.py", data=reviews_csv, encoder=tiny_pair, **settings)
    assert (run.path, run.recipe.name, run.settings.seq_length) == (Path("runs/mine-1"), "mine", 20)
    assert run.metrics["train"]["trained_weights"] < 100
    # As on another machine, where neither the recipe file nor the encoder exists.
    shutil.rmtree(tmp_path / "home")
    moved = shutil.move(tmp_path / "work" / "runs" / "mine-1", tmp_path / "moved")
    assert tfhub_ft.predict(moved, ["a good film"])[0]["label"] in ("negative", "positive")


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("spom", "mine.py", "did you mean spam"),
        ("spam", "mine.txt", "not the name of a Python module"),
        ("spam", "my-spam.py", "not the name of a Python module"),
        ("spam", "class.py", "not the name of a Python module"),
        ("spam", "none/mine.py", "none not found; create it"),
        ("spam", "there.py", "already exists"),
        ("spam", "topic.py", "a recipe topic already exists"),
        ("spam", "chat.py", "a recipe chat already exists"),
    ],
)
def test_copy_recipe_refuses_invalid_files(tmp_path, name, file, message):
    (tmp_path / "there.py").write_text("mine")
    with pytest.raises(InputError, match=message):
        copy_recipe(name, tmp_path / file)
    assert [path.name for path in tmp_path.iterdir()] == ["there.py"]
    assert (tmp_path / "there.py").read_text() == "mine"


def guide_run(encoder, folder):
    """Return a run of the example in ADD-RECIPE.md, and two texts."""
    example = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[1]
    (folder / "stars.py").write_text(example)
    stars = {"positive": "5", "negative": "1"}
    rows = [(text, stars[label]) for text, label in make_reviews(160)]
    write_csv(folder / "reviews.csv", rows, header=("text", "rating"))
    settings = {**TINY_SETTINGS, "epochs": 12, "learning_rate": 2e-3}
    run = tfhub_ft.train(folder / "stars.py", encoder=encoder, output_dir=folder / "run", **settings)
    return run, [f"{GOOD[0]} film {GOOD[1]}", f"{BAD[0]} film {BAD[1]}"]


@pytest.mark.slow
def test_recipe_of_the_guide_trains_and_predicts(tiny_pair, tmp_path):
    run, texts = guide_run(tiny_pair, tmp_path)
    good, bad = (answer["score"] for answer in tfhub_ft.predict(run, texts))
    assert good > 3 > bad
    assert tfhub_ft.evaluate(run, data=tmp_path / "reviews.csv")["spearman"] > 0.5


@pytest.mark.slow
def test_recipe_of_the_guide_is_exported(tiny_pair, tmp_path):
    run, texts = guide_run(tiny_pair, tmp_path)
    exported = tfhub_ft.export(run, output_dir=tmp_path / "export")
    good = tfhub_ft.predict(run, texts)[0]["score"]
    assert json.loads((exported / "1" / "assets.extra/task.json").read_text())["inputs"] == ["text"]
    assert tfhub_ft.predict(exported, texts)[0]["score"] == pytest.approx(good, abs=1e-3)
