"""A run folder that is damaged, or of another version, is told in one line."""

import shutil

import pytest
import yaml

import tfhub_ft
from tfhub_ft.errors import InputError
from tfhub_ft.run import Run


@pytest.fixture
def copied(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


DAMAGES = [
    ("labels.json", "{}", r"run/labels\.json cannot be read \(it holds a dict, not a list\); train again or restore"),
    ("decision.json", '{"thresh', r"run/decision\.json cannot be read \(Unterminated string"),
    ("decision.json", None, r"run has no decision\.json, which every run has: restore the file, or train again$"),
    ("model.keras", None, r"run has no model\.keras, which every run has"),
    ("model.keras", "PK", r"run/model\.keras cannot be read \("),
    ("recipe.yaml", "recipe: [1, 2", r"run/recipe\.yaml cannot be read \("),
    ("recipe.yaml", "recipe: [1, 2]", r"run/recipe\.yaml does not say which recipe"),
    ("recipe.yaml", None, r"run is no run folder: it has no recipe\.yaml"),
    ("metrics.json", None, r"run has no decision\.json: its training did not finish; go on with --resume"),
]


@pytest.mark.parametrize(("name", "content", "message"), DAMAGES)
def test_a_damaged_run_names_the_file(copied, name, content, message):
    (copied / name).unlink()
    if name == "metrics.json":
        (copied / "decision.json").unlink()
    if content is not None:
        (copied / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        tfhub_ft.predict(copied, ["good film"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparkle": 3}, r"recipe\.yaml: no setting is called 'sparkle'"),
        ({"recipe": "poetry"}, r"poetry"),
        ({"epochs": "many"}, r"--epochs 'many': must be a whole number"),
    ],
)
def test_a_run_of_another_version_says_so(copied, changes, message):
    written = yaml.safe_load((copied / "recipe.yaml").read_text())
    for made, told in ((tfhub_ft.__version__, ""), ("9.9.9", r"; .*run was made by tfhub_ft 9\.9\.9, this is ")):
        (copied / "recipe.yaml").write_text(yaml.safe_dump({**written, **changes, "tfhub_ft": made}))
        with pytest.raises(InputError, match=message + ".*" + told) as caught:
            Run(copied).settings  # noqa: B018
        assert ("was made by" in str(caught.value)) == bool(told)
