"""The names that user code may rely on."""

import subprocess
import sys

import tfhub_ft


def test_the_public_names_are_these():
    assert set(tfhub_ft.__all__) == {
        "HubEncoder", "HubPreprocessor", "Recipe", "Run",
        "benchmark", "compare", "distill", "evaluate", "export", "load_recipe", "predict", "train",
    }  # fmt: skip
    for name in tfhub_ft.__all__:
        assert callable(getattr(tfhub_ft, name))


def test_functions_stay_callable_after_their_packages_are_imported():
    script = (
        "import tfhub_ft, tfhub_ft.exports.export, tfhub_ft.evaluation.evaluate, tfhub_ft.training.train\n"
        "import tfhub_ft.benchmarking.benchmark, tfhub_ft.distillation.distill\n"
        "assert all(map(callable, (tfhub_ft.export, tfhub_ft.evaluate, tfhub_ft.train, tfhub_ft.predict)))\n"
        "assert callable(tfhub_ft.compare) and callable(tfhub_ft.benchmark) and callable(tfhub_ft.distill)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys, tfhub_ft; assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
