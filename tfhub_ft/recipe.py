"""Recipes: a task, a model, a loss and default settings."""

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import keyword
import shutil
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tfhub_ft.models.builders import EncoderArguments
from tfhub_ft.settings import TrainingSettings, option_name
from tfhub_ft.tasks.base import Task, monitor_of, num_classes, weights_of_labels
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.errors import InputError, did_you_mean
from tfhub_ft.utils.files import atomic_write, check_new
from tfhub_ft.utils.trust import TRUST_VARIABLE, is_known_recipe, record_recipe, trusts_all

if TYPE_CHECKING:
    import keras
    import numpy as np

RECIPES = {
    name: f"tfhub_ft.recipes.{name}"
    for name in (
        "sentiment", "spam", "phishing", "topic", "intent", "pair", "similarity", "regression", "multilabel",
        "ner", "qa", "retrieval", "dialogue", "adapt",
    )
}  # fmt: skip
# Names in version 0.1.
ALIASES = {"chat": "retrieval"}
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A task, the model that learns it, and the settings to train it with.

    Args:
        summary: One line.
        task: The kind of prediction.
        build_model: Returns the text-in model. It is called with the settings that it names as arguments, with
            `num_classes` if the task has classes, and with the fields of `EncoderArguments` if it takes any keyword.
        loss: Returns the training loss; called with the settings that it names, with `class_weights`, a weight for each
            label or None, and with `targets`, the training targets. None in recipe files of version 0.1, whose runs
            still predict.
        metrics: Returns the metrics shown during training, called like `loss`; none by default.
        settings: The settings with the defaults of the recipe.
        recommended: Catalog names of suitable encoders.
        demo: File of the rows to train on if no data is given.
        name: Stem of the recipe's file, set by `load_recipe`.
        source: Content of a recipe file, set by `load_recipe`.

    Example:
        recipe = load_recipe("sentiment")
        model = recipe.build(recipe.settings, ["negative", "positive"])
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
        """The name, followed by names in earlier versions."""
        return (self.name, *(old for old, name in ALIASES.items() if name == self.name))

    def build(self, settings: TrainingSettings, labels: list[str]) -> "keras.Model":
        """Return the model to train for these settings and labels.

        Raises:
            InputError: The recipe lacks a loss or ignores a setting, or the encoder is not found or does not support
                the settings.
        """
        self.check(settings, labels)
        if self.loss is None:
            raise InputError(
                f"{self.name}: the RECIPE lacks a loss, as in tfhub_ft 0.1; add loss=, and import names from tfhub_ft"
                " itself, as recipes/ADD-RECIPE.md describes"
            )
        long_texts = getattr(settings, "long_texts", "truncate")
        if long_texts != "truncate" and "long_texts" not in _argument_names(self.build_model, EncoderArguments):
            raise InputError(
                f"--long-texts {long_texts}: build_model of {self.name} does not take it; add **options, and pass them"
                " to text_model"
            )
        classes = num_classes(self.task, labels)
        class_arguments = {"num_classes": classes} if classes else {}
        return _call(self.build_model, {**settings.as_dict(), **class_arguments}, EncoderArguments)

    def check(self, settings: TrainingSettings, labels: Sequence[str] | None = None) -> None:
        """Raise an InputError if the task lacks the score to monitor or a label that has a weight.

        The same holds if the loss ignores a setting. Labels are checked if they are given.
        """
        monitor_of(self.task, settings.monitor)
        class_weight = getattr(settings, "class_weight", "none")
        if labels is not None and isinstance(class_weight, Mapping):
            weights_of_labels(self.task, class_weight, labels, None)
        if self.loss is None:
            return
        parameters = inspect.signature(self.loss).parameters
        # Losses of earlier recipe files balance the labels themselves.
        takes_balanced = class_weight == "balanced" and "class_weight" in parameters
        for name, argument in (
            ("class_weight", "class_weight" if takes_balanced else "class_weights"),
            *((name, name) for name in ("focal_gamma", "label_smoothing")),
        ):
            if getattr(settings, name, "none") not in ("none", 0.0) and argument not in parameters:
                raise InputError(
                    f"{option_name(name)}: the loss of recipe {self.name} lacks the argument {argument}; add it, as in"
                    " recipes/topic.py"
                )

    def compile_arguments(
        self, settings: TrainingSettings, targets: "np.ndarray | None", labels: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return loss and metrics for these training targets, as arguments of `keras.Model.compile`."""
        class_weight = getattr(settings, "class_weight", "none")
        weights = weights_of_labels(self.task, class_weight, labels, targets)
        arguments = {**settings.as_dict(), "targets": targets, "class_weights": weights}
        loss, metrics = (function and _call(function, arguments) for function in (self.loss, self.metrics))
        return {"loss": loss, "metrics": metrics or []}


def _argument_names(function: Callable[..., object], options: type[EncoderArguments] | None = None) -> set[str]:
    """Return the arguments that a function names, and the fields of `options` if it takes any keyword."""
    parameters = inspect.signature(function).parameters
    names = set(parameters)
    if options and any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        names |= {field.name for field in dataclasses.fields(options)}
    return names


def _call(function: Callable[..., T], arguments: Mapping[str, Any], options: type[EncoderArguments] | None = None) -> T:
    """Call a function with those of the arguments that are among its `_argument_names`."""
    names = _argument_names(function, options)
    try:
        return function(**{name: value for name, value in arguments.items() if name in names})
    except ImportError as error:
        if moved := _moved(inspect.getfile(function), error):
            raise moved from error
        raise


def demo_file(name: str) -> Path:
    """Return the path of a file of demo rows in the installed package.

    Args:
        name: File name, such as "spam.csv".

    Returns:
        The path; the file need not exist.

    Example:
        demo_file("spam.csv").read_text(encoding="utf-8")
    """
    return _module_file("tfhub_ft.recipes").parent / "demo" / name


def _module_file(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin
    return Path(spec.origin)


def recipe_name(name: str) -> str:
    """Return the current name of a recipe: for a recipe file, its stem."""
    return Path(name).stem if name.endswith(".py") else ALIASES.get(name, name)


def load_recipe(name: str | Path) -> Recipe:
    """Load a recipe by name or from a Python file.

    Args:
        name: Name of a recipe, or path of a Python file that defines `RECIPE`. Its code is executed.

    Returns:
        The recipe.

    Raises:
        InputError: The recipe is not found, or the file does not define one.

    Example:
        load_recipe("sentiment").settings.epochs
    """
    name = str(check_path("recipe", name, "a recipe's name or the path of a recipe file (str or Path)"))
    if name.endswith(".py"):
        return _recipe_of_source(Path(name), _read_source(Path(name)), Path(name))
    current = recipe_name(name)
    if current not in RECIPES:
        raise _unknown(name)
    return dataclasses.replace(importlib.import_module(RECIPES[current]).RECIPE, name=current)


def load_own_recipe(name: str | Path) -> Recipe:
    """Load a recipe to train with, and record a recipe file as trusted by this user."""
    recipe = load_recipe(name)
    if recipe.source is not None:
        record_recipe(recipe.source, str(Path(name).resolve()))
    return recipe


def load_known_recipe(path: Path, origin: Path, sha256: str | None = None) -> Recipe:
    """Load the recipe file of a run if this user has trained with it or passes --trust; raise an InputError otherwise.

    `origin` is the file that it is a copy of, where it may look for other files; `sha256` its recorded digest, if any.
    """
    source = _read_source(path)
    if sha256 not in (None, hashlib.sha256(source).hexdigest()):
        raise InputError(f"{path}: has changed since the training; restore the file")
    if not (trusts_all() or is_known_recipe(source)):
        raise InputError(
            f"{path}: is Python code that you have not trained with; read it, then pass --trust (in Python, set"
            f" {TRUST_VARIABLE}=1) to run it"
        )
    return _recipe_of_source(path, source, origin)


def copy_recipe(name: str, file: Path) -> Path:
    """Copy the module of a recipe to a new Python file, whose stem becomes the name of the copy; return the file."""
    module = RECIPES.get(recipe_name(name))
    if module is None:
        raise _unknown(name)
    if file.suffix != ".py" or not file.stem.isidentifier() or keyword.iskeyword(file.stem):
        raise InputError(f"{file}: not the name of a Python module; choose a name such as my_{name}.py")
    check_new(file)
    if not file.parent.is_dir():
        raise InputError(f"{file}: folder {file.parent} not found; create it first")
    if file.stem in (*RECIPES, *ALIASES):
        raise InputError(f"{file}: a recipe {file.stem} already exists; choose a name such as my_{file.stem}.py")
    with atomic_write(file) as temporary:
        shutil.copyfile(_module_file(module), temporary)
    return file


def _unknown(name: str) -> InputError:
    hint = did_you_mean(name, RECIPES, most=3) or f"choose one of {', '.join(RECIPES)}"
    return InputError(f"unknown recipe {name!r}; {hint}")


def _read_source(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path}: not found; pass the name of a recipe or the path of a recipe file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def _recipe_of_source(path: Path, source: bytes, origin: Path) -> Recipe:
    module = types.ModuleType(origin.stem)
    module.__file__ = str(origin)
    try:
        # Not from __pycache__, which could contain another program.
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))  # noqa: S102  a recipe file is a program
    except Exception as error:
        raise _moved(path, error) or InputError(f"{path}: {type(error).__name__}: {error}") from error
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise InputError(f"{path}: not a recipe file; define RECIPE = Recipe(...)")
    return dataclasses.replace(recipe, name=origin.stem, source=source)


def _moved(path: str | Path, error: Exception) -> InputError | None:
    """Return the error for a recipe file that imports a name of an earlier version of tfhub_ft."""
    if not isinstance(error, ImportError) or not (error.name or "").startswith("tfhub_ft"):
        return None
    return InputError(
        f"{path}: written for tfhub_ft 0.1, whose modules have moved ({error}); import its names from tfhub_ft itself,"
        " as docs/reference/api.md lists them"
    )
