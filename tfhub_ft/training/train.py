"""Training a recipe: from settings to a finished run folder."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfhub_ft.data.datasets import Dataset, load_dataset
from tfhub_ft.data.prepared import with_prepared
from tfhub_ft.recipe import Recipe, load_own_recipe
from tfhub_ft.run import CHECKPOINTS, DISTILLATION, LOGS, ORIGIN, RECIPE_FILE, Run
from tfhub_ft.settings import Settings, option_name
from tfhub_ft.training.distribution import check_shared_folder, check_strategy, is_chief
from tfhub_ft.training.trainer import Training
from tfhub_ft.utils.arguments import check_path, check_type
from tfhub_ft.utils.console import log, recorded_warnings, set_quiet
from tfhub_ft.utils.documents import read_yaml
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import check_folder, contents, temporary_folder


def train(
    recipe: str | Path,
    *,
    output_dir: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    recover: bool = False,
    **settings: Any,
) -> Run:
    """Fine-tune an encoder by a recipe, score it, and leave a run folder. What `tfhub-ft train` does.

    Args:
        recipe: a recipe's name, or the path of a recipe file.
        output_dir: the run folder, which must be new or empty; `runs/NAME-N` by default.
        config: a YAML file of settings.
        resume: go on with the training in `output_dir` where it was stopped or killed.
        recover: go on with a training whose loss was no number, from its last good epoch, at half the learning rate.
        settings: any field of the recipe's settings: train, epochs, encoder ... They go before the file's. `strategy`
            may be a tf.distribute.Strategy, too.

    Returns:
        The finished run.

    Raises:
        InputError: a setting, a file or a row is not as it must be. Nothing was started.
        RunError: the training failed.
        Preempted: SIGTERM stopped it; `resume` goes on with it.

    Example:
        run = tfhub_ft.train("sentiment", data="reviews.csv", output_dir="runs/reviews", epochs=2)
        run.metrics["test"]["accuracy"]
    """
    output_dir = None if output_dir is None else check_path("output_dir", output_dir)
    for argument, flag in (("resume", resume), ("recover", recover)):
        check_type(argument, flag, bool, "True or False")
    strategy = settings.get("strategy", "one")
    if not isinstance(strategy, str):
        check_strategy(strategy, output_dir)
        with strategy.scope():
            return train(
                recipe,
                output_dir=output_dir,
                config=config,
                resume=resume,
                recover=recover,
                **{**settings, "strategy": "one"},
            )
    name, recipe = str(recipe), load_own_recipe(recipe)
    if resume or recover:
        return _resume(recipe, output_dir, given_settings(recipe, config, settings), recover)
    resolved = resolved_settings(recipe, config, settings)
    with _written_by_chief(resolved.strategy, output_dir) as scratch:
        folder = new_folder(scratch or output_dir or _next_folder(recipe.name))
        with recorded_warnings() as warnings:
            data = load_dataset(recipe.task, resolved, recipe.demo)
            training = Training(recipe, resolved, data)
        training.reach_min_steps(given_settings(recipe, config, settings))
        run = training.create_run(new_folder(folder), name)
        with run.locked():
            run.add_warnings(warnings)
            training.finish(run)
    return Run(output_dir or folder)


@contextlib.contextmanager
def _written_by_chief(strategy: str, output_dir: str | Path | None) -> Iterator[Path | None]:
    """None where this process writes the run; a folder of its own, deleted afterwards, where another one does."""
    if strategy == "multi-worker":
        check_shared_folder(output_dir)
    if is_chief(strategy):
        yield None
        return
    set_quiet()
    with temporary_folder() as scratch:
        yield Path(scratch) / "run"


def resolved_settings(recipe: Recipe, config: str | Path | None, settings: Mapping[str, Any]) -> Settings:
    """A recipe's settings with those of a YAML file, and before these those that were given.

    Raises:
        InputError: the file or a value is not as it must be.
    """
    given = given_settings(recipe, config, settings)
    source = f"--config {config}" if config else ""
    return recipe.settings.replaced(given, source=source, sourced=given.keys() - settings.keys())


def given_settings(recipe: Recipe, config: str | Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the user has set, in a YAML file, as arguments or by the choice of prepared rows."""
    config = None if config is None else check_path("config", config)
    given = {**(_read_config(config, recipe) if config else {}), **settings}
    return with_prepared(recipe.name, given) if given.get("prepared") else given


def _read_config(path: Path, recipe: Recipe) -> dict[str, Any]:
    try:
        values = read_yaml(path) or {}
    except InputError as error:
        raise InputError(f"--config {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"--config {path}: must hold a setting a line, such as `epochs: 3`")
    if Path(str(values.pop("recipe", recipe.name))).stem != recipe.name:
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
        raise InputError(f"--output-dir {folder} already holds a run: name another folder, or go on with --resume")
    if contents(folder) and not Run.is_beginning(folder):
        raise InputError(f"--output-dir {folder}: not empty; choose another folder")
    return folder


def _next_folder(name: str) -> Path:
    number = 1
    while os.path.lexists(folder := Path("runs") / f"{name}-{number}"):
        number += 1
    return folder


def _resume(recipe: Recipe, output_dir: str | Path | None, given: Mapping[str, Any], recover: bool) -> Run:
    if not output_dir:
        raise InputError(f"--{'recover' if recover else 'resume'} needs --output-dir, the run to go on with")
    if Run.is_beginning(check_path("output_dir", output_dir)):
        raise InputError(f"{output_dir}: its training was killed before it began; leave --resume out")
    run = Run(output_dir)
    with _written_by_chief(run.settings.strategy, output_dir) as scratch:
        if scratch:
            # Before the workers meet, after which the chief writes.
            shutil.copytree(run.path, scratch, ignore=shutil.ignore_patterns(LOGS))
            run = Run(scratch)
        with run.locked():
            _go_on(run, recipe, given, recover, Run(output_dir).load_rows)
    return Run(output_dir)


def _go_on(run: Run, recipe: Recipe, given: Mapping[str, Any], recover: bool, load_rows: Callable[[], Dataset]) -> None:
    from tfhub_ft.training.callbacks import remove_weights

    if run.recipe.name != recipe.name:
        raise InputError(f"{run.path} is a run of the recipe {run.recipe.name}, not {recipe.name}")
    if run.recipe.source != recipe.source:
        raise InputError(
            f"{run.path} was started with another version of the recipe {recipe.name}; go on with that one,"
            f" {run.path / RECIPE_FILE}, or train into a new folder"
        )
    for name, value in run.settings.replaced(given).as_dict().items():
        if value != getattr(run.settings, name):
            raise InputError(
                f"{option_name(name)} {value}: the run in {run.path} was started with {getattr(run.settings, name)},"
                " and goes on with that; leave the option out"
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
        raise InputError(f"{run.path}: its loss was a number as far as it came; go on with --resume")
    if diverged and not recover:
        raise InputError(f"{run.path}: its loss was no number, and would be so again; go on with --recover")
    try:
        data = load_rows()
    except InputError as error:
        raise InputError(f"{error}; restore them, or train again") from None
    settings = run.settings
    if recover:
        settings = settings.replaced({"learning_rate": settings.learning_rate / 2})
        log(f"Going on with half the learning rate, {settings.learning_rate:g}")
    with recorded_warnings() as warnings:
        training = Training(recipe, settings, data)
    run.add_warnings(warnings)
    training.continue_run(run)
    training.finish(run.with_settings(settings) if recover else run)
