import pytest

from tfhub_ft.recipe import RECIPES, load_recipe
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_is_what_the_list_says(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.demo.is_file()
    assert recipe.summary.endswith(".")


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(InputError, match="'sentimant': did you mean sentiment"):
        load_recipe("sentimant")
    with pytest.raises(InputError, match="there are sentiment"):
        load_recipe("xyz")


def test_a_recipe_file_is_loaded(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import dataclasses\n"
        "from tfhub_ft.recipes import sentiment\n"
        'RECIPE = dataclasses.replace(sentiment.RECIPE, name="mine")\n'
    )
    assert load_recipe(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [("x = 1", "has no RECIPE"), ("import nothing_of_that_name", "ModuleNotFoundError"), ("(", "SyntaxError")],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_recipe(str(path))
    with pytest.raises(InputError, match="no such recipe file"):
        load_recipe(str(tmp_path / "none.py"))


@pytest.mark.parametrize("name", RECIPES)
def test_recommended_encoders_are_in_the_catalogue(name):
    from tfhub_ft.encoders.catalog import CATALOG
    from tfhub_ft.language_models import presets

    assert set(load_recipe(name).recommended) <= {entry.name for entry in (*CATALOG, *presets.CATALOG)}
