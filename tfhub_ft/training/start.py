"""What a training run starts from: its settings, its folder and its rows, new or resumed."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.datasets import Dataset, load_dataset
from tfhub_ft.data.prepared import add_prepared_settings
from tfhub_ft.recipe import Recipe, load_own_recipe, recipe_name
from tfhub_ft.run import CHECKPOINTS, DISTILLATION, LOGS, ORIGIN, RECIPE_FILE, TRACKED, Run
from tfhub_ft.settings import Settings, TrainingSettings, option_name
from tfhub_ft.training.distribution import check_shared_folder, is_chief
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log, set_quiet
from tfhub_ft.utils.documents import read_yaml
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_folder, contents, temporary_folder, write_json

if TYPE_CHECKING:
    from tfhub_ft.training.tracking import Tracker


@dataclass(frozen=True)
class Start:
    """What a training run starts from.

    Args:
        recipe: says what is learned.
        recipe_name: its name, or the path of its file.
        settings: of the run.
        given: the names of the settings that the user has set.
        folder: the run folder.
        load_dataset: reads, checks and splits the rows.
        run: the run that is resumed; None for a new one.
    """

    recipe: Recipe
    recipe_name: str
    settings: TrainingSettings
    given: Mapping[str, Any]
    folder: Path
    load_dataset: Callable[[], Dataset]
    run: Run | None = None


@contextlib.contextmanager
def started(
    recipe: str | Path,
    output_dir: Path | None,
    config: str | Path | None,
    settings: Mapping[str, Any],
    *,
    resume: bool = False,
    recover: bool = False,
) -> Iterator[Start]:
    """Within this context a training run starts, or continues; arguments and errors are those of `train`."""
    name, recipe = str(recipe), load_own_recipe(recipe)
    if resume or recover:
        with _resumed(recipe, output_dir, given_settings(recipe, config, settings), recover) as start:
            yield start
        return
    resolved, given = read_settings(recipe, config, settings)
    with written_by_chief(resolved.strategy, output_dir) as scratch:
        folder = new_folder(scratch or output_dir or _next_folder(recipe.name))
        yield Start(recipe, name, resolved, given, folder, lambda: load_dataset(recipe.task, resolved, recipe.demo))


@contextlib.contextmanager
def opened_run(
    recipe: Recipe,
    recipe_name: str,
    folder: Path,
    settings: TrainingSettings,
    dataset: Dataset,
    tracker: "Tracker",
    *,
    resumed: Run | None = None,
    is_empty: bool = True,
) -> Iterator[Run]:
    """Within this context the run folder exists and is locked, and the tracker logs the run.

    Args:
        recipe: says what is learned.
        recipe_name: its name, or the path of its file.
        folder: the run folder.
        settings: with the number of epochs that the run has.
        dataset: the rows, which the folder describes.
        tracker: logs the run.
        resumed: the run that is resumed, which is locked already; None for a new one.
        is_empty: whether the folder of a new run must be empty.

    Raises:
        InputError: the tracker refuses the run.
    """
    known = resumed.tracked.get(settings.track) if resumed else None
    config = {"recipe": recipe_name, **settings.as_dict()}
    tracked = tracker.begin(recipe.name, folder.resolve().name, config, known)
    if resumed:
        lock = contextlib.nullcontext()
        run = resumed.with_settings(settings) if settings != resumed.settings else resumed
    else:
        folder = new_folder(folder) if is_empty else folder
        run = Run.create(folder, recipe_name, settings, dataset.labels, dataset.described(folder), recipe.source)
        lock = run.locked()
    if tracked:
        write_json(run.path / TRACKED, tracked)
    with lock:
        yield run


@contextlib.contextmanager
def written_by_chief(strategy: str, output_dir: str | Path | None) -> Iterator[Path | None]:
    """None where this process writes the run; a temporary folder where another worker does."""
    if strategy == "multi-worker":
        check_shared_folder(output_dir)
    if is_chief(strategy):
        yield None
        return
    set_quiet()
    with temporary_folder() as scratch:
        yield Path(scratch) / "run"


@contextlib.contextmanager
def _resumed(recipe: Recipe, output_dir: Path | None, given: Mapping[str, Any], recover: bool) -> Iterator[Start]:
    if not output_dir:
        raise InputError(f"--{'recover' if recover else 'resume'} needs --output-dir, the run to continue")
    if Run.is_beginning(output_dir):
        raise InputError(f"{output_dir}: its training was killed before it began; leave --resume out")
    run = Run(output_dir)
    with written_by_chief(run.settings.strategy, output_dir) as scratch:
        if scratch:
            # Before the workers meet, after which the chief writes.
            shutil.copytree(run.path, scratch, ignore=shutil.ignore_patterns(LOGS))
            run = Run(scratch)
        with run.locked():
            _check_resumable(run, recipe, given, recover)
            settings = run.settings
            if recover:
                settings = settings.replaced({"learning_rate": settings.learning_rate / 2})
                log(f"Continuing with half the learning rate, {settings.learning_rate:g}")

            def load() -> Dataset:
                try:
                    return Run(output_dir).load_rows()
                except InputError as error:
                    raise InputError(f"{error}; restore them, or train again") from None

            yield Start(recipe, run.recipe_name, settings, given, run.path, load, run)


def _check_resumable(run: Run, recipe: Recipe, given: Mapping[str, Any], recover: bool) -> None:
    from tfhub_ft.training.callbacks import remove_weights

    if run.recipe.name != recipe.name and (recipe.source is None or run.recipe.source != recipe.source):
        raise InputError(f"{run.path} is a run of the recipe {run.recipe.name}, not {recipe.name}")
    if run.recipe.source != recipe.source:
        raise InputError(
            f"{run.path} was started with another version of the recipe {recipe.name}; continue with that one,"
            f" {run.path / RECIPE_FILE}, or train into a new folder"
        )
    for name, value in run.settings.replaced(given).as_dict().items():
        if value != getattr(run.settings, name):
            raise InputError(
                f"{option_name(name)} {value}: the run in {run.path} was started with {getattr(run.settings, name)},"
                " and continues with it; leave the option out"
            )
    if run.finished:
        # In case it was killed before it had done that itself.
        remove_weights(run.path / CHECKPOINTS)
        raise InputError(f"{run.path} is finished: there is nothing to resume")
    if (run.path / DISTILLATION).is_file():
        raise InputError(
            f"{run.path} was distilled from another run, which cannot be resumed: distill into a new folder"
        )
    diverged = bool(run.training_state.get("diverged"))
    if recover and not diverged:
        raise InputError(f"{run.path}: its loss never became NaN; continue with --resume")
    if diverged and not recover:
        raise InputError(f"{run.path}: its loss became NaN; continue with --recover")


def read_settings(
    recipe: Recipe, config: str | Path | None, settings: Mapping[str, Any]
) -> tuple[Settings, dict[str, Any]]:
    """Return a recipe's settings with those that the user has set, and the latter alone; see `given_settings`.

    Raises:
        InputError: the file or a value is not as it must be.
    """
    given = given_settings(recipe, config, settings)
    source = f"--config {config}" if config else ""
    return recipe.settings.replaced(given, source=source, sourced=given.keys() - settings.keys()), given


def given_settings(recipe: Recipe, config: str | Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the user has set, in a YAML file, as arguments or by the choice of prepared rows."""
    config = None if config is None else check_path("config", config)
    given = {**(_read_config(config, recipe) if config else {}), **settings}
    return add_prepared_settings(recipe.names, given) if given.get("prepared") else given


def _read_config(path: Path, recipe: Recipe) -> dict[str, Any]:
    try:
        values = read_yaml(path) or {}
    except InputError as error:
        raise InputError(f"--config {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"--config {path}: must hold a setting a line, such as `epochs: 3`")
    if recipe_name(str(values.pop("recipe", recipe.name))) != recipe.name:
        raise InputError(f"--config {path} belongs to another recipe than {recipe.name}")
    for name in ORIGIN:
        values.pop(name, None)
    return values


def new_folder(folder: Path) -> Path:
    """The folder, if a run can be made there.

    Raises:
        InputError: it is taken.
    """
    check_folder(folder)
    if (folder / "recipe.yaml").exists():
        raise InputError(f"--output-dir {folder} already holds a run; choose another folder, or continue with --resume")
    if contents(folder) and not Run.is_beginning(folder):
        raise InputError(f"--output-dir {folder}: not empty; choose another folder")
    return folder


def _next_folder(name: str) -> Path:
    number = 1
    while os.path.lexists(folder := Path("runs") / f"{name}-{number}"):
        number += 1
    return folder
