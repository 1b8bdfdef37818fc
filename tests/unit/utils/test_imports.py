import pytest

from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.imports import imported


def test_imported_returns_object_by_dotted_name():
    assert imported("tfhub_ft.utils.errors.InputError") is InputError


@pytest.mark.parametrize("name", ["tfhub_ft.utils.errors.Nothing", "tfhub_ft.utils.nothing.InputError"])
def test_imported_raises_for_unknown_names(name):
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        imported(name)
