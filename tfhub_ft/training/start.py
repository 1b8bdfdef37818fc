"""Start or resume a training run: resolve its settings, its run folder and its rows."""

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.datasets import Dataset, Fold, load_dataset
from tfhub_ft.data.memory_rows import MemoryRows, is_in_memory, take_memory_rows
from tfhub_ft.data.prepared import add_prepared_settings
from tfhub_ft.recipe import Recipe, load_own_recipe, recipe_name
from tfhub_ft.run import (
    CHECKPOINTS,
    DISTILLATION,
    LOGS,
    ORIGIN,
    RECIPE,
    RECIPE_FILE,
    REPEATS,
    START,
    TRACKED,
    Run,
)
from tfhub_ft.settings import DATA, TrainingSettings, option_name
from tfhub_ft.training.continuation import RunWeights, earlier_labels, inherited_settings
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
    """The settings, folder and rows of a training run; `given` has the settings that the user has set."""

    recipe: Recipe
    recipe_name: str
    settings: TrainingSettings
    given: Mapping[str, Any]
    folder: Path
    load_dataset: Callable[[], Dataset]
    run: Run | None = None

    def earlier_weights(self) -> RunWeights | None:
        """Return the weights of the run to continue from; None without one, or if a resumed run has its own copy."""
        if self.run and (self.run.path / CHECKPOINTS / START).is_file():
            return None
        return RunWeights.load(self.settings, sha256=self.run.from_run_sha256 if self.run else None)


@contextlib.contextmanager
def start_training(
    recipe: str | Path,
    output_dir: Path | None,
    config: str | Path | None,
    settings: Mapping[str, Any],
    *,
    resume: bool = False,
    recover: bool = False,
    load: "Callable[[Recipe, TrainingSettings, Mapping[str, MemoryRows]], Dataset] | None" = None,
) -> Iterator[Start]:
    """Start or resume a training run, for the time of a context; arguments and errors are those of `train`.

    `load` reads the rows of a new run, by default as its settings say.
    """
    name, loaded = str(recipe), load_own_recipe(recipe)
    settings, objects = take_memory_rows(settings, DATA)
    if resume or recover:
        with _resumed(loaded, output_dir, given_settings(loaded, config, settings), objects, recover) as start:
            yield start
        return
    resolved, given = read_settings(loaded, config, settings)
    with _worker_folder(resolved.strategy, output_dir) as worker_folder:
        folder = new_folder(worker_folder or output_dir or next_folder(loaded.name))
        yield Start(loaded, name, resolved, given, folder, lambda: (load or load_rows)(loaded, resolved, objects))


def load_rows(
    recipe: Recipe, settings: TrainingSettings, objects: Mapping[str, MemoryRows], *, fold: Fold | None = None
) -> Dataset:
    """Return the rows of a new training run, or of a fold; labels of a run that it continues from come first.

    `objects` are the rows in memory, by the settings that have their names.
    """
    earlier = earlier_labels(settings)
    return load_dataset(recipe.task, settings, recipe.demo, earlier_labels=earlier, objects=objects, fold=fold)


@contextlib.contextmanager
def open_run(
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
    """Create and lock a run folder, and begin to log the run, for the time of a context.

    The folder of a run that is `resumed` is locked already.
    """
    run_id = resumed.tracked.get(settings.track) if resumed and settings.track else None
    config = {"recipe": recipe_name, **settings.as_dict()}
    tracked = tracker.begin(recipe.name, folder.resolve().name, config, run_id)
    if resumed:
        lock = contextlib.nullcontext()
        run = resumed.with_settings(settings) if settings != resumed.settings else resumed
    else:
        folder = new_folder(folder) if is_empty else folder
        splits, rows = dataset.described(folder), {name: split.rows for name, split in dataset.splits.items()}
        copied = rows if settings.copy_data else None
        run = Run.create(folder, recipe_name, settings, dataset.labels, splits, recipe.source, copied)
        lock = run.locked()
    if tracked:
        write_json(run.path / TRACKED, tracked)
    with lock:
        yield run


@contextlib.contextmanager
def _worker_folder(strategy: str, output_dir: Path | None) -> Iterator[Path | None]:
    """Yield a temporary folder for the run of a worker that is not the chief; None for the chief."""
    if strategy == "multi-worker":
        check_shared_folder(output_dir)
    if is_chief(strategy):
        yield None
        return
    set_quiet()
    with temporary_folder() as scratch:
        yield Path(scratch) / "run"


@contextlib.contextmanager
def _resumed(
    recipe: Recipe,
    output_dir: Path | None,
    given: Mapping[str, Any],
    objects: Mapping[str, MemoryRows],
    recover: bool,
) -> Iterator[Start]:
    option = "--recover" if recover else "--resume"
    if not output_dir:
        raise InputError(f"{option}: needs --output-dir, the run folder to continue in")
    if not contents(output_dir):
        raise InputError(f"{option}: {output_dir} contains no run; train without {option} first")
    if Run.is_partial(output_dir):
        raise InputError(f"{output_dir}: the training was killed before its first epoch; train without --resume")
    run = Run(output_dir)
    with _worker_folder(run.settings.strategy, output_dir) as worker_folder:
        if worker_folder:
            # The chief writes only after all workers have met.
            shutil.copytree(run.path, worker_folder, ignore=shutil.ignore_patterns(LOGS))
            run = Run(worker_folder)
        with run.locked():
            settings = run.settings
            _check_resumable(run, recipe, given, objects, recover)
            if recover:
                settings = settings.replaced({"learning_rate": settings.learning_rate / 2})
                log(f"Continuing at half the learning rate, {settings.learning_rate:g}")

            def load() -> Dataset:
                try:
                    return Run(output_dir).load_rows(objects)
                except InputError as error:
                    raise InputError(f"{error}; {run.restore_advice}, or train again") from None

            yield Start(recipe, run.recipe_name, settings, given, run.path, load, run)


def check_unchanged(
    started: TrainingSettings, given: Mapping[str, Any], objects: Mapping[str, MemoryRows], runs: str
) -> None:
    """Raise an InputError if a given setting differs from that of `runs`, such as "the run in runs/x was", started."""
    # Equal rows may come in an object of another type.
    same = {name: value for name in objects if is_in_memory(value := getattr(started, name))}
    for name, value in started.replaced({**given, **same}).as_dict().items():
        before = getattr(started, name)
        if value != before:
            raise InputError(f"{option_name(name)} {value}: {runs} started with {before}; leave the option out")


def _check_resumable(
    run: Run, recipe: Recipe, given: Mapping[str, Any], objects: Mapping[str, MemoryRows], recover: bool
) -> None:
    from tfhub_ft.training.callbacks import remove_weights

    if run.recipe.name != recipe.name and (recipe.source is None or run.recipe.source != recipe.source):
        raise InputError(f"{run.path}: a run of recipe {run.recipe.name}, not {recipe.name}; pass its recipe")
    if run.recipe.source != recipe.source:
        raise InputError(
            f"{run.path}: started with another version of recipe {recipe.name}; continue with"
            f" {run.path / RECIPE_FILE}, or train into a new folder"
        )
    check_unchanged(run.settings, given, objects, f"the run in {run.path} was")
    if run.finished:
        # The run may have been killed before it removed them.
        remove_weights(run.path / CHECKPOINTS)
        raise InputError(f"{run.path}: already finished; there is nothing to resume")
    if (run.path / DISTILLATION).is_file():
        raise InputError(f"{run.path}: a distilled run, which cannot be resumed; distill into a new folder")
    diverged = bool(run.training_state.get("diverged"))
    if recover and not diverged:
        raise InputError(f"{run.path}: the loss never became NaN; continue with --resume")
    if diverged and not recover:
        raise InputError(f"{run.path}: the loss became NaN; continue with --recover")


def read_settings(
    recipe: Recipe, config: str | Path | None, settings: Mapping[str, Any]
) -> tuple[TrainingSettings, dict[str, Any]]:
    """Return the settings of a run, and those that the user has set; see `given_settings`."""
    given = given_settings(recipe, config, settings)
    source = f"--config {config}" if config else ""
    values = {**inherited_settings(recipe, given), **given}
    resolved = recipe.settings.replaced(values, source=source, sourced=given.keys() - settings.keys())
    recipe.check(resolved)
    return resolved, given


def given_settings(recipe: Recipe, config: str | Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the user has set: in a YAML file, as arguments, or by a folder of prepared rows."""
    path = None if config is None else check_path("config", config)
    given = {**(_read_config(path, recipe) if path else {}), **settings}
    if isinstance(given.get("from_run"), Run):
        given["from_run"] = str(given["from_run"].path)
    return add_prepared_settings(recipe.names, given) if given.get("prepared") else given


def _read_config(path: Path, recipe: Recipe) -> dict[str, Any]:
    try:
        values = read_yaml(path) or {}
    except InputError as error:
        raise InputError(f"--config {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"--config {path}: expected one setting per line, such as `epochs: 3`")
    name = recipe_name(str(values.pop("recipe", recipe.name)))
    if name != recipe.name:
        raise InputError(f"--config {path}: has settings of recipe {name}, not {recipe.name}")
    return {name: value for name, value in values.items() if name not in ORIGIN}


def new_folder(folder: Path) -> Path:
    """Return a folder that a run can be created in, or raise an InputError."""
    check_folder(folder)
    if (folder / RECIPE).exists() or (folder / REPEATS).exists():
        raise InputError(f"--output-dir {folder}: already has a run; choose another folder, or continue with --resume")
    if contents(folder) and not Run.is_partial(folder):
        raise InputError(f"--output-dir {folder}: not empty; choose another folder")
    return folder


def next_folder(name: str) -> Path:
    """Return the first folder `runs/NAME-N` that does not exist."""
    folders = (Path("runs") / f"{name}-{number}" for number in itertools.count(1))
    return next(folder for folder in folders if not os.path.lexists(folder))
