"""The search for good settings: trainings with some of them varied, judged by their validation rows."""

import contextlib
import dataclasses
import importlib.util
import json
import shutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.datasets import Dataset, load_dataset
from tfhub_ft.metrics.scores import goodness
from tfhub_ft.recipe import Recipe, load_own_recipe
from tfhub_ft.run import CHECKPOINTS, MODEL, Run
from tfhub_ft.settings import Settings, option_name, value_type
from tfhub_ft.training.results import score_trained, score_untrained, write_results, write_samples
from tfhub_ft.training.start import opened_run, read_settings
from tfhub_ft.training.tracking import tracker_of
from tfhub_ft.training.trainer import make_trainer
from tfhub_ft.utils.arguments import check_path, check_type
from tfhub_ft.utils.console import log, recorded_warnings
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import check_folder, check_output, contents, remove, rollback_on_error, write_text
from tfhub_ft.utils.memory import release_gradients

if TYPE_CHECKING:
    import optuna

BEST, JOURNAL, TRIALS = "best.yaml", "trials.log", "trials"
USUAL = ("learning_rate=1e-5..3e-4", "epochs=1..4", "freeze=none,all-but-2,all-but-pooler")
# From such a ratio of its ends on a range is searched by powers.
BY_POWERS = 10
FIRST_AT_RANDOM = 5


def tune(
    recipe: str | Path,
    *,
    output_dir: str | Path,
    trials: int = 12,
    search: Sequence[str] = USUAL,
    config: str | Path | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Train with varied settings, and keep the best ones as a file for `--config`. What `tfhub-ft tune` does.

    The test rows are neither read by a trial nor scored: `tfhub-ft train RECIPE --config DIR/best.yaml` scores them
    once. A search that was stopped goes on in the same folder.

    Args:
        recipe: a recipe's name, or the path of a recipe file.
        output_dir: the folder of the search: `best.yaml`, and in `trials/` each trial's settings, history and report,
            without its model.
        trials: how many trainings there shall be in all.
        search: what is varied: "learning_rate=1e-5..3e-4" is a range, "freeze=none,all-but-2" a choice.
        config: a YAML file of settings that stay.
        settings: settings that stay.

    Returns:
        A row a finished trial, the best first: {"trial", the varied settings, "score": the recipe's own, of the
        validation rows, "seconds": of its epochs}.

    Raises:
        InputError: a setting or a file is not as it must be, or the folder holds another search.
        RunError: no trial came to its end.

    Example:
        tune("sentiment", data="reviews.csv", output_dir="runs/search", trials=8)[0]["score"]

    Reference:
        Akiba et al. 2019 (Optuna), https://arxiv.org/abs/1907.10902
    """
    name, recipe = str(recipe), load_own_recipe(recipe)
    check_type("trials", trials, int, "an integer")
    fixed, given = read_settings(recipe, config, settings)
    if search is USUAL:
        search = [each for each in USUAL if each.partition("=")[0] in fixed.names()]
    elif isinstance(search, str):
        search = [search]
    space = parse_search(search, fixed)
    given |= dict.fromkeys(space)
    folder = check_path("output_dir", output_dir)
    check_output(folder / BEST, "--output-dir", inputs=[Path(config)] if config else [])
    _check_search_folder(folder)
    data = _without_test(load_dataset(recipe.task, fixed, recipe.demo))

    def objective(trial: "optuna.Trial") -> float:
        chosen = {key: _suggested(trial, key, ends) for key, ends in space.items()}
        log(f"Trial {trial.number}: " + ", ".join(f"{key} {value}" for key, value in chosen.items()))
        return _tried(trial, name, recipe, fixed.replaced(chosen), given, data, folder)

    is_new = not (folder / JOURNAL).is_file()
    # A search whose first trial is refused leaves nothing.
    with rollback_on_error(folder) if is_new else contextlib.nullcontext():
        study = _study(folder, recipe, fixed, space)
        left = max(trials - len(_rows(study)), 0)
        log(f"Running {left} of {trials} trials in {folder}")
        if is_new:
            study.optimize(objective, n_trials=1, catch=(RunError,))
    # Ctrl-C ends the search with the trials so far.
    with contextlib.suppress(KeyboardInterrupt):
        study.optimize(objective, n_trials=left - is_new, catch=(RunError,))
    rows = _rows(study)
    if not rows:
        raise RunError(f"{folder}: no trial came to its end; lower the learning rates")
    _write_best(folder, name, rows[0], list(space))
    return rows


def parse_search(search: Sequence[str], fixed: Settings) -> dict[str, tuple[str, list[Any]]]:
    """What is varied, by setting: ("range", its two ends) or ("choice", the values).

    Raises:
        InputError: there is no such setting, or a value does not fit it.
    """
    fields = {field.name: field for field in dataclasses.fields(fixed)}
    space = {}
    for text in check_type("search", search, Sequence, "a list of str"):
        check_type("search", text, str, "a list of str such as 'epochs=1..4'")
        key, _, values = text.partition("=")
        key = key.strip().replace("-", "_")
        if key not in fields or not values.strip():
            raise InputError(f"--search {text}: must be SETTING=LOW..HIGH or SETTING=A,B,C")
        kind = value_type(fields[key])
        parts = [part.strip() for part in values.split(".." if ".." in values else ",")]
        if ".." in values and (kind not in (int, float) or len(parts) != 2):
            raise InputError(f"--search {text}: only a number has a range, from one end to the other")
        typed = [_typed(text, kind, part) for part in parts]
        for value in typed:
            fixed.replaced({key: value})
        if ".." in values and not typed[0] < typed[1]:
            raise InputError(f"--search {text}: the first end must be below the second")
        space[key] = ("range" if ".." in values else "choice", typed)
    return space


def _typed(text: str, kind: type, part: str) -> Any:
    if kind is bool:
        if part not in ("true", "false"):
            raise InputError(f"--search {text}: must be true or false")
        return part == "true"
    try:
        return kind(part)
    except ValueError:
        raise InputError(f"--search {text}: {part!r} is no number") from None


def _check_search_folder(folder: Path) -> None:
    if importlib.util.find_spec("optuna") is None:
        raise InputError("tfhub-ft tune needs Optuna: pip install 'tfhub_ft[tune]'")
    check_folder(folder)
    if contents(folder) and not (folder / JOURNAL).is_file():
        raise InputError(f"--output-dir {folder}: not empty, and without a search; choose another folder")


def _study(folder: Path, recipe: Recipe, fixed: Settings, space: Mapping[str, Any]) -> "optuna.Study":
    """The search that a folder holds, or a new one."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    study = optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)
    asked = json.dumps([recipe.name, fixed.as_dict(), space], sort_keys=True)
    if study.user_attrs.get("asked", asked) != asked:
        raise InputError(f"--output-dir {folder} holds a search with other settings: name another folder")
    study.set_user_attr("asked", asked)
    seed = fixed.seed + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=FIRST_AT_RANDOM)
    return study


def _suggested(trial: "optuna.Trial", name: str, how: tuple[str, list[Any]]) -> Any:
    kind, values = how
    if kind == "choice":
        return trial.suggest_categorical(name, values)
    low, high = values
    by_powers = low > 0 and high / low >= BY_POWERS
    if isinstance(low, int):
        return trial.suggest_int(name, low, high, log=by_powers)
    return trial.suggest_float(name, low, high, log=by_powers)


def _without_test(data: Dataset) -> Dataset:
    kept = [name for name in data.splits if name != "test"]
    return dataclasses.replace(
        data, splits={n: data.splits[n] for n in kept}, targets={n: data.targets[n] for n in kept}
    )


def _tried(
    trial: "optuna.Trial",
    name: str,
    recipe: Recipe,
    settings: Settings,
    given: Collection[str],
    data: Dataset,
    folder: Path,
) -> float:
    """The validation score of a training run, of which everything but the weights is kept."""
    path = _trial_folder(folder, trial.number)
    remove(path)
    with recorded_warnings() as warnings:
        tracker = tracker_of(settings.track)
        trainer = make_trainer(recipe, settings, data, given)
    with release_gradients(), opened_run(recipe, name, path, trainer.settings, data, tracker) as run:
        run.add_warnings(warnings)
        write_samples(run, recipe.task, data, settings.seed)
        untrained = score_untrained(trainer)
        checkpoints = trainer.fit(run, tracker)
        write_results(run, trainer, checkpoints, *score_trained(trainer, checkpoints, untrained), tracker)
    epochs = run.training_state["epochs"]
    trial.set_user_attr("seconds", round(sum(epoch["seconds"] for epoch in epochs), 1))
    score = goodness(recipe.task.monitor, run.metrics["validation"][recipe.task.monitor])
    shutil.rmtree(path / CHECKPOINTS)
    (path / MODEL).unlink()
    log(f"Trial {trial.number}: {recipe.task.monitor.replace('_', ' ')} {abs(score):.4f}")
    return score


def _trial_folder(folder: Path, number: int) -> Path:
    return folder / TRIALS / f"{number:03}"


def _rows(study: "optuna.Study") -> list[dict[str, Any]]:
    """The finished trials, the best first."""
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    done.sort(key=lambda trial: -trial.value)
    return [
        {"trial": each.number, **each.params, "score": each.value, "seconds": each.user_attrs["seconds"]}
        for each in done
    ]


def _write_best(folder: Path, name: str, best: Mapping[str, Any], varied: Sequence[str]) -> None:
    import yaml

    settings = Run(_trial_folder(folder, best["trial"])).settings.as_dict()
    head = f"# the best of a search: trial {best['trial']}, score {best['score']:.4f}; varied were"
    head += f" {', '.join(map(option_name, varied))}\n"
    content = {"recipe": name, **settings}
    write_text(folder / BEST, head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
