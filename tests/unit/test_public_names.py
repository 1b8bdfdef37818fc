"""The public names."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import UnionType

import pytest

import tfhub_ft

NAMES_OF_0_1_0 = {
    "HubEncoder", "HubPreprocessor", "Recipe", "Run",
    "benchmark", "compare", "distill", "evaluate", "export", "load_recipe", "predict", "train",
}  # fmt: skip
API = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
TYPES = Path(__file__).parents[1] / "typing" / "public_names.py"


def imported_names(statements):
    imports = [node for node in statements if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names}


def test_public_names_include_those_of_0_1_0():
    assert set(tfhub_ft.__all__) >= NAMES_OF_0_1_0


@pytest.mark.parametrize("name", tfhub_ft.__all__)
def test_public_name_is_visible_to_type_checkers(name):
    tree = ast.parse(Path(tfhub_ft.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    modules = imported_names(block.body)
    assert modules.keys() == set(tfhub_ft.__all__)
    value = getattr(tfhub_ft, name)
    assert callable(value) or isinstance(value, UnionType)
    assert value is getattr(sys.modules[modules[name]], name)
    assert value.__doc__


def test_type_test_imports_every_public_name():
    names = imported_names(ast.parse(TYPES.read_text(encoding="utf-8")).body)
    assert {name for name, module in names.items() if module == "tfhub_ft"} == set(tfhub_ft.__all__)


def test_api_page_lists_exactly_the_public_names():
    paths = re.findall(r"^::: (\S+)", API.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(path.rpartition(".")[2] for path in paths) == tfhub_ft.__all__
    for path in paths:
        module, _, name = path.rpartition(".")
        assert getattr(sys.modules[module], name) is getattr(tfhub_ft, name)


def test_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="unknown name 'trian'"):
        tfhub_ft.trian  # noqa: B018


def test_functions_are_not_replaced_by_their_modules():
    script = (
        "import tfhub_ft, tfhub_ft.exports.export, tfhub_ft.evaluation.evaluate, tfhub_ft.training.train\n"
        "import tfhub_ft.benchmarking.benchmark, tfhub_ft.distillation.distill\n"
        "assert all(map(callable, (tfhub_ft.export, tfhub_ft.evaluate, tfhub_ft.train, tfhub_ft.predict)))\n"
        "assert callable(tfhub_ft.compare) and callable(tfhub_ft.benchmark) and callable(tfhub_ft.distill)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_package_and_recipes_import_without_tensorflow():
    script = (
        "import sys, tfhub_ft; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "from tfhub_ft.recipe import RECIPES\n"
        "for name in RECIPES: tfhub_ft.load_recipe(name)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
