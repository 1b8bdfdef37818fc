import pytest

from tfhub_ft.distillation.trimming import check_trimmable
from tfhub_ft.run import Run
from tfhub_ft.settings import Settings
from tfhub_ft.utils.errors import InputError


@pytest.mark.parametrize("recipe", ["ner", "qa", "retrieval"])
def test_check_trimmable_refuses_recipes_with_all_tokens(recipe, tmp_path):
    run = Run.create(tmp_path / "run", recipe, Settings(), ["a", "b"], {})
    with pytest.raises(InputError, match=f"--vocabulary domain: not available for recipe {recipe}"):
        check_trimmable(run)


def test_check_trimmable_accepts_classification(tmp_path):
    check_trimmable(Run.create(tmp_path / "run", "sentiment", Settings(), ["a", "b"], {}))
