"""What a recipe is, and the list of the recipes that there are."""

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import keyword
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.settings import Settings
from tfhub_ft.tasks.base import Task, num_classes
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_new, write_text
from tfhub_ft.utils.trust import TRUST_VARIABLE, is_known_recipe, record_recipe, trusts_all

if TYPE_CHECKING:
    import keras

RECIPES = {
    "sentiment": "tfhub_ft.recipes.sentiment",
    "spam": "tfhub_ft.recipes.spam",
    "phishing": "tfhub_ft.recipes.phishing",
    "topic": "tfhub_ft.recipes.topic",
    "intent": "tfhub_ft.recipes.intent",
    "pair": "tfhub_ft.recipes.pair",
    "similarity": "tfhub_ft.recipes.similarity",
    "multilabel": "tfhub_ft.recipes.multilabel",
    "ner": "tfhub_ft.recipes.ner",
    "qa": "tfhub_ft.recipes.qa",
    "chat": "tfhub_ft.recipes.chat",
    "dialogue": "tfhub_ft.recipes.dialogue",
    "adapt": "tfhub_ft.recipes.adapt",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A task, the model that learns it and the settings that it is trained with.

    Args:
        name: what the command line calls it.
        summary: one line.
        task: what kind of answer is learnt.
        build_model: makes the text-in model; takes the settings that it names as arguments and what the task needs
            (the number of classes, say).
        settings: the settings with this recipe's defaults.
        recommended: catalogue names of the encoders that suit it.
        demo: file of the rows that it is trained on when no data is given.
        source: of a recipe that was loaded from a file, the file's content.
    """

    name: str
    summary: str
    task: Task
    build_model: Callable[..., "keras.Model"]
    settings: Settings
    recommended: tuple[str, ...]
    demo: Path
    source: bytes | None = dataclasses.field(default=None, repr=False)

    def build(self, settings: Settings, labels: list[str]) -> "keras.Model":
        """The model for these settings and labels, untrained but for its encoder."""
        arguments = settings.as_dict()
        if classes := num_classes(self.task, labels):
            arguments["num_classes"] = classes
        wanted = inspect.signature(self.build_model).parameters
        return self.build_model(**{name: value for name, value in arguments.items() if name in wanted})


def load_recipe(name: str | Path) -> Recipe:
    """The recipe of that name, or of that Python file.

    Args:
        name: one of `RECIPES`, or the path of a Python file that has a `RECIPE`.

    Raises:
        InputError: there is no such recipe.

    Example:
        load_recipe("sentiment").settings.epochs
    """
    name = str(check_path("recipe", name, "a recipe's name or the path of a recipe file (str or Path)"))
    if name in RECIPES:
        return importlib.import_module(RECIPES[name]).RECIPE
    if name.endswith(".py"):
        return _recipe_of_source(Path(name), _read_source(Path(name)), Path(name))
    raise _unknown(name)


def load_own_recipe(name: str | Path) -> Recipe:
    """Load a recipe to train with: this user may open what it trains, which is recorded for a recipe file."""
    recipe = load_recipe(name)
    if recipe.source is not None:
        record_recipe(recipe.source, str(Path(name).resolve()))
    return recipe


def load_known_recipe(path: Path, origin: Path, sha256: str | None = None) -> Recipe:
    """Load a recipe file that a run names: its code runs where this user has trained with it, or with --trust.

    Args:
        path: the file.
        origin: the file that it is a copy of, beside which it may look for other files.
        sha256: of its content, where the run knows it.

    Raises:
        InputError: there is no such recipe, it has changed, or nobody says that it is trusted.
    """
    source = _read_source(path)
    if sha256 not in (None, hashlib.sha256(source).hexdigest()):
        raise InputError(f"{path}: has changed since the training; restore the file")
    if not (trusts_all() or is_known_recipe(source)):
        raise InputError(
            f"{path}: is Python code that you have not trained with; read it, then pass --trust (in Python set"
            f" {TRUST_VARIABLE}=1) to run it"
        )
    return _recipe_of_source(path, source, origin)


def copy_recipe(name: str, file: Path) -> Path:
    """Write a recipe's module into a file of one's own, under the file's name. What `tfhub-ft copy` does.

    Args:
        name: one of `RECIPES`.
        file: a new Python file; its name becomes the recipe's.

    Returns:
        The file.

    Raises:
        InputError: there is no such recipe, or the file cannot be made.

    Example:
        copy_recipe("spam", Path("mine.py"))
    """
    if name not in RECIPES:
        raise _unknown(name)
    if file.suffix != ".py" or not file.stem.isidentifier() or keyword.iskeyword(file.stem):
        raise InputError(f"{file}: must be named like a Python module, such as my_{name}.py")
    check_new(file)
    if not file.parent.is_dir():
        raise InputError(f"{file}: there is no folder {file.parent}")
    if file.stem in RECIPES:
        raise InputError(f"{file}: a recipe is called {file.stem} already; name the file my_{file.stem}.py, say")
    source = Path(importlib.util.find_spec(RECIPES[name]).origin).read_text(encoding="utf-8")
    write_text(file, _renamed(source, name, file.stem))
    return file


def _renamed(source: str, name: str, new: str) -> str:
    """A recipe's source under another name, with the demo rows of the first one."""
    for old, its in (
        (rf"tfhub-ft train {name}\b", f"tfhub-ft train ./{new}.py"),
        (rf"from tfhub_ft\.recipes import {name}\b", f"import {new}"),
        (rf"\b{name}\.build_model", f"{new}.build_model"),
        (rf'name="{name}"', f'name="{new}"'),
        (rf"runs/{name}\b", f"runs/{new}"),
        (r"demo=Path\(__file__\).*", f'demo=load_recipe("{name}").demo,'),
        (r"from tfhub_ft\.recipe import Recipe\b", "from tfhub_ft.recipe import Recipe, load_recipe"),
        (r"from pathlib import Path\n", ""),
    ):
        source = re.sub(old, its, source)
    return source


def _unknown(name: str) -> InputError:
    near = difflib.get_close_matches(name, RECIPES, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(RECIPES)}"
    return InputError(f"no recipe is called {name!r}: {hint}")


def _read_source(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path}: there is no such recipe file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def _recipe_of_source(path: Path, source: bytes, origin: Path) -> Recipe:
    module = types.ModuleType(origin.stem)
    module.__file__ = str(origin)
    try:
        # These bytes and no compiled file in __pycache__, which could hold another program.
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))  # noqa: S102  a recipe file is a program
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from error
    recipe: Any = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise InputError(f"{path} is no recipe: it has no RECIPE = Recipe(...)")
    return dataclasses.replace(recipe, source=source)
