"""Recipes: what a model learns, from which rows, with which settings."""

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import keyword
import shutil
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.models.builders import EncoderArguments
from tfhub_ft.settings import TrainingSettings
from tfhub_ft.tasks.base import Task, num_classes
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import atomic_write, check_new
from tfhub_ft.utils.trust import TRUST_VARIABLE, is_known_recipe, record_recipe, trusts_all

if TYPE_CHECKING:
    import keras

RECIPES = {
    name: f"tfhub_ft.recipes.{name}"
    for name in (
        "sentiment", "spam", "phishing", "topic", "intent", "pair", "similarity", "multilabel", "ner", "qa",
        "retrieval", "dialogue", "adapt",
    )
}  # fmt: skip
# Names of version 0.1.
ALIASES = {"chat": "retrieval"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A task, the model that learns it, and the settings to train it with.

    Args:
        summary: one line.
        task: what kind of prediction is learned.
        build_model: returns the text-in model. It is called with the settings that it names as arguments, what the
            task knows of the labels (`num_classes`), and, where it takes any keyword, the fields of `EncoderArguments`.
        loss: returns the loss to train with; called with the settings that it names and `targets`, those of the
            training rows. None in recipe files of version 0.1, whose runs still predict.
        metrics: returns the metrics to show while training, called likewise; none by default.
        settings: the settings with this recipe's defaults.
        recommended: catalog names of the encoders that suit it.
        demo: file of the rows to train on when no data is given.
        name: the stem of its file, set by `load_recipe`.
        source: content of a recipe file, set by `load_recipe`.
    """

    summary: str
    task: Task
    build_model: Callable[..., "keras.Model"]
    loss: "Callable[..., keras.losses.Loss] | None" = None
    metrics: "Callable[..., list[keras.metrics.Metric]] | None" = None
    settings: TrainingSettings
    recommended: tuple[str, ...]
    demo: Path
    name: str = ""
    source: bytes | None = dataclasses.field(default=None, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, and its names in earlier versions."""
        return (self.name, *(old for old, name in ALIASES.items() if name == self.name))

    def build(self, settings: TrainingSettings, labels: list[str]) -> "keras.Model":
        """Return the model to train for these settings and labels.

        Raises:
            InputError: the recipe lacks a loss, or the encoder is not found or does not fit the settings.
        """
        if self.loss is None:
            raise InputError(
                f"{self.name}: the RECIPE lacks a loss, as those of tfhub_ft 0.1 did; add loss=, and import names from"
                " tfhub_ft itself, as recipes/ADD-RECIPE.md describes"
            )
        classes = num_classes(self.task, labels)
        known = {"num_classes": classes} if classes else {}
        return _call(self.build_model, {**settings.as_dict(), **known}, EncoderArguments)

    def compile_arguments(self, settings: TrainingSettings, targets: Any) -> dict[str, Any]:
        """Return the loss and the metrics for these training targets, as `compile` takes them."""
        given = {**settings.as_dict(), "targets": targets}
        return {"loss": _call(self.loss, given), "metrics": _call(self.metrics, given) if self.metrics else []}


def _call(function: Callable[..., Any], arguments: Mapping[str, Any], options: type | None = None) -> Any:
    """Call a function with the arguments that it names; where it takes any keyword, with the fields of `options`."""
    parameters = inspect.signature(function).parameters
    names = set(parameters)
    if options and any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        names |= {field.name for field in dataclasses.fields(options)}
    try:
        return function(**{name: value for name, value in arguments.items() if name in names})
    except ImportError as error:
        if moved := _moved(inspect.getfile(function), error):
            raise moved from error
        raise


def demo_file(name: str) -> Path:
    """Return the path of a file of demo rows that comes with tfhub_ft.

    Args:
        name: the file's name, such as "spam.csv".

    Example:
        demo_file("spam.csv").read_text(encoding="utf-8")
    """
    return Path(importlib.util.find_spec("tfhub_ft.recipes").origin).parent / "demo" / name


def recipe_name(name: str) -> str:
    """Return the name that a recipe has today: of the path of a recipe file its stem."""
    return Path(name).stem if name.endswith(".py") else ALIASES.get(name, name)


def load_recipe(name: str | Path) -> Recipe:
    """Load a recipe by its name or from a Python file.

    Args:
        name: a recipe's name, or the path of a Python file that has a `RECIPE`.

    Raises:
        InputError: there is no such recipe.

    Example:
        load_recipe("sentiment").settings.epochs
    """
    name = str(check_path("recipe", name, "a recipe's name or the path of a recipe file (str or Path)"))
    if name.endswith(".py"):
        return _recipe_of_source(Path(name), _read_source(Path(name)), Path(name))
    today = recipe_name(name)
    if today not in RECIPES:
        raise _unknown(name)
    return dataclasses.replace(importlib.import_module(RECIPES[today]).RECIPE, name=today)


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
    """Copy a recipe's module into a file of your own. What `tfhub-ft copy` does.

    Args:
        name: a recipe's name.
        file: a new Python file; its stem becomes the copy's name.

    Returns:
        The file.

    Raises:
        InputError: the recipe is not known, or the file cannot be created.

    Example:
        copy_recipe("spam", Path("mine.py"))
    """
    module = RECIPES.get(recipe_name(name))
    if module is None:
        raise _unknown(name)
    if file.suffix != ".py" or not file.stem.isidentifier() or keyword.iskeyword(file.stem):
        raise InputError(f"{file}: must be named like a Python module, such as my_{name}.py")
    check_new(file)
    if not file.parent.is_dir():
        raise InputError(f"{file}: there is no folder {file.parent}")
    if file.stem in (*RECIPES, *ALIASES):
        raise InputError(f"{file}: a recipe is called {file.stem} already; name the file my_{file.stem}.py, say")
    with atomic_write(file) as aside:
        shutil.copyfile(importlib.util.find_spec(module).origin, aside)
    return file


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
        raise _moved(path, error) or InputError(f"{path}: {type(error).__name__}: {error}") from error
    recipe: Any = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise InputError(f"{path}: not a recipe; it needs a RECIPE = Recipe(...)")
    return dataclasses.replace(recipe, name=origin.stem, source=source)


def _moved(path: str | Path, error: Exception) -> InputError | None:
    """Return the error of a recipe file that imports a name which this version of tfhub_ft does not have."""
    if not isinstance(error, ImportError) or not (error.name or "").startswith("tfhub_ft"):
        return None
    return InputError(
        f"{path}: written for tfhub_ft 0.1, whose modules have moved ({error}); import its names from tfhub_ft itself,"
        " as docs/api.md lists them"
    )
