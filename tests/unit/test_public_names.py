"""The names that user code may rely on."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfhub_ft

# Those of version 0.1.
FIRST = {
    "HubEncoder", "HubPreprocessor", "Recipe", "Run",
    "benchmark", "compare", "distill", "evaluate", "export", "load_recipe", "predict", "train",
}  # fmt: skip
API = Path(__file__).parents[2] / "docs" / "api.md"


def test_public_names_of_earlier_versions_stay():
    assert set(tfhub_ft.__all__) >= FIRST


@pytest.mark.parametrize("name", tfhub_ft.__all__)
def test_a_public_name_is_found_where_type_checkers_find_it(name):
    tree = ast.parse(Path(tfhub_ft.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = {alias.asname: node.module for node in block.body for alias in node.names}
    assert imports.keys() == set(tfhub_ft.__all__)
    found = getattr(tfhub_ft, name)
    assert callable(found)
    assert found is getattr(sys.modules[imports[name]], name)
    assert found.__doc__


def test_the_api_page_lists_exactly_the_public_names():
    paths = re.findall(r"^::: (\S+)", API.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(path.rpartition(".")[2] for path in paths) == tfhub_ft.__all__
    for path in paths:
        module, _, name = path.rpartition(".")
        assert getattr(sys.modules[module], name) is getattr(tfhub_ft, name)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="unknown name 'trian'"):
        tfhub_ft.trian  # noqa: B018


def test_functions_stay_callable_after_their_packages_are_imported():
    script = (
        "import tfhub_ft, tfhub_ft.exports.export, tfhub_ft.evaluation.evaluate, tfhub_ft.training.train\n"
        "import tfhub_ft.benchmarking.benchmark, tfhub_ft.distillation.distill\n"
        "assert all(map(callable, (tfhub_ft.export, tfhub_ft.evaluate, tfhub_ft.train, tfhub_ft.predict)))\n"
        "assert callable(tfhub_ft.compare) and callable(tfhub_ft.benchmark) and callable(tfhub_ft.distill)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_importing_the_package_and_recipes_imports_nothing_heavy():
    script = (
        "import sys, tfhub_ft; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "from tfhub_ft.recipe import RECIPES\n"
        "for name in RECIPES: tfhub_ft.load_recipe(name)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
