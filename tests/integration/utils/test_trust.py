"""Recipe files of foreign runs are executed with --trust only."""

import shutil
from pathlib import Path

import pytest

import tfhub_ft
from tests.conftest import TINY_SETTINGS
from tfhub_ft.cli.main import group
from tfhub_ft.inference.predict import open_predictor
from tfhub_ft.recipe import load_recipe
from tfhub_ft.run import Run
from tfhub_ft.utils.errors import InputError

MINE = """
import dataclasses, pathlib
from tfhub_ft.recipes import sentiment
pathlib.Path({mark!r}).touch()
RECIPE = dataclasses.replace(sentiment.RECIPE, name="mine")
"""
COMMANDS = [
    "predict RUN text",
    "evaluate RUN --data rows.csv",
    "export RUN --output-dir new",
    "compare RUN RUN",
    "chat RUN",
    "distill RUN --student layers:1 --output-dir new",
    "encoders export RUN new",
    "train sentiment --resume --output-dir RUN",
]


@pytest.fixture(scope="module")
def mine_run(tiny_pair, reviews_csv, tmp_path_factory):
    """A finished run of a recipe file, and the marker file that its code creates."""
    folder = tmp_path_factory.mktemp("mine")
    mark, file = folder / "mark", folder / "mine.py"
    file.write_text(MINE.format(mark=str(mark)))
    settings = {**TINY_SETTINGS, "epochs": 1}
    tfhub_ft.train(file, data=reviews_csv, output_dir=folder / "run", encoder=tiny_pair, **settings)
    file.unlink()
    return folder / "run", mark


@pytest.fixture
def foreign(mine_run, tmp_path, monkeypatch):
    """The same run on the machine of another user."""
    run, mark = mine_run
    shutil.copytree(run, tmp_path / "run")
    mark.unlink(missing_ok=True)
    monkeypatch.setenv("TFHUB_FT_CONFIG", str(tmp_path / "configuration"))
    monkeypatch.setattr("tfhub_ft.utils.trust._trained_here", set())
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text,label\ngood film,positive\nbad film,negative\n")
    return tmp_path / "run", mark


def call(line, run):
    group.main([str(run) if word == "RUN" else word for word in line.split()], standalone_mode=False)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_refuse_untrusted_recipe_files(line, foreign):
    run, mark = foreign
    with pytest.raises(InputError, match=rf"^{run}/recipe.py: is Python code that you have not trained with.*--trust"):
        call(line, run)
    assert not mark.exists()
    assert not Path("new").exists()


def test_functions_refuse_untrusted_recipe_files(foreign):
    run, mark = foreign
    for opened in (
        lambda: Run(run).recipe,
        lambda: Run(run).settings,
        lambda: open_predictor(run),
        lambda: open_predictor(Run(run)),
        lambda: tfhub_ft.evaluate(run, data="rows.csv"),
    ):
        with pytest.raises(InputError, match="--trust"):
            opened()
    assert not mark.exists()


def test_run_of_known_recipe_file_uses_its_copy(mine_run):
    run, mark = mine_run
    mark.unlink(missing_ok=True)
    assert Run(run).recipe.name == "mine"
    assert mark.exists()
    assert tfhub_ft.predict(run, ["good film"])[0]["label"] in ("positive", "negative")
    with pytest.raises(InputError, match="finished"):
        call("train RUN/recipe.py --resume --output-dir RUN".replace("RUN", str(run)), run)


@pytest.mark.parametrize(("value", "is_trusted"), [("1", True), ("0", False), ("", False)])
def test_trust_variable_opens_foreign_runs(value, is_trusted, foreign, monkeypatch):
    run, mark = foreign
    monkeypatch.setenv("TFHUB_FT_TRUST", value)
    if is_trusted:
        assert Run(run).recipe.name == "mine"
    else:
        with pytest.raises(InputError, match="--trust"):
            _ = Run(run).recipe
    assert mark.exists() == is_trusted


def test_load_recipe_does_not_record_trust(foreign):
    run, _ = foreign
    assert load_recipe(run / "recipe.py").name == "recipe"
    with pytest.raises(InputError, match="--trust"):
        _ = Run(run).recipe


def test_run_refuses_changed_recipe_file(mine_run, tmp_path, monkeypatch):
    run = shutil.copytree(mine_run[0], tmp_path / "run")
    (run / "recipe.py").write_text((run / "recipe.py").read_text() + "pathlib.Path('new').touch()\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="recipe.py: has changed since the training"):
        _ = Run(run).recipe
    (tmp_path / "other.py").write_text("import pathlib; pathlib.Path('new').touch()")
    for name in (str(tmp_path / "other.py"), "other.py"):
        (run / "recipe.yaml").write_text(f"recipe: {name}\n")
        with pytest.raises(InputError, match=r"other.py: is Python code that you have not trained with"):
            _ = Run(run).recipe
    assert not Path("new").exists()


def test_run_ignores_compiled_recipe_files(mine_run, tmp_path, monkeypatch):
    import importlib.util
    import py_compile

    run = shutil.copytree(mine_run[0], tmp_path / "run")
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('new').touch()")
    cached = Path(importlib.util.cache_from_source(run / "recipe.py"))
    cached.parent.mkdir()
    py_compile.compile(
        str(tmp_path / "evil.py"), str(cached), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    monkeypatch.chdir(tmp_path)
    assert Run(run).recipe.name == "mine"
    assert not Path("new").exists()


def test_resume_refuses_changed_recipe_file(mine_run, tmp_path):
    run = shutil.copytree(mine_run[0], tmp_path / "run")
    (run / "metrics.json").unlink()
    (tmp_path / "mine.py").write_text((run / "recipe.py").read_text() + "# changed\n")
    with pytest.raises(InputError, match=r"another version of recipe mine; continue with .*recipe.py"):
        tfhub_ft.train(tmp_path / "mine.py", output_dir=run, resume=True)


def test_record_recipe_warns_if_folder_is_read_only(tmp_path, monkeypatch, capsys):
    from tfhub_ft.recipe import load_own_recipe
    from tfhub_ft.utils.trust import is_known_recipe

    (tmp_path / "file").touch()
    monkeypatch.setenv("TFHUB_FT_CONFIG", str(tmp_path / "file"))
    (tmp_path / "mine.py").write_text(MINE.format(mark=str(tmp_path / "mark")))
    source = load_own_recipe(tmp_path / "mine.py").source
    assert "TFHUB_FT_CONFIG" in capsys.readouterr().err
    assert is_known_recipe(source)
