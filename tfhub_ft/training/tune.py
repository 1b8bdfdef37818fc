"""Search for settings with the best validation score."""

import contextlib
import dataclasses
import importlib.util
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.datasets import Dataset
from tfhub_ft.data.memory_rows import take_memory_rows
from tfhub_ft.metrics import goodness
from tfhub_ft.recipe import Recipe, load_own_recipe
from tfhub_ft.run import CHECKPOINTS, MODEL, Run
from tfhub_ft.settings import DATA, TrainingSettings, option_name, value_type
from tfhub_ft.tasks.base import monitor_of
from tfhub_ft.training.continuation import inherited_settings
from tfhub_ft.training.results import fit_and_score
from tfhub_ft.training.start import load_rows, open_run, read_settings
from tfhub_ft.training.tracking import make_tracker
from tfhub_ft.training.trainer import make_trainer
from tfhub_ft.utils.arguments import check_path, check_type
from tfhub_ft.utils.console import log, recorded_warnings
from tfhub_ft.utils.errors import InputError, RunError
from tfhub_ft.utils.files import check_folder, check_output, contents, remove, rollback_on_error, write_text
from tfhub_ft.utils.memory import release_gradients

if TYPE_CHECKING:
    import optuna

BEST, JOURNAL, TRIALS = "best.yaml", "trials.log", "trials"
DEFAULT_SEARCH = ("learning_rate=1e-5..3e-4", "epochs=1..4", "freeze=none,all-but-2,all-but-pooler")
# Ranges whose ends differ by this factor are searched on a logarithmic scale.
LOG_SCALE_RATIO = 10
RANDOM_TRIALS = 5

Space = Mapping[str, tuple[str, list[Any]]]


def tune(
    recipe: str | Path,
    *,
    output_dir: str | Path,
    trials: int = 12,
    search: Sequence[str] = DEFAULT_SEARCH,
    config: str | Path | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Search for the best settings, and write them as a file for `--config`. What `tfhub-ft tune` does.

    Trials neither read nor score the test rows: `tfhub-ft train RECIPE --config DIR/best.yaml` scores them once. A
    search that was stopped continues in the same folder.

    Args:
        recipe: The name of a recipe, or the path of a recipe file.
        output_dir: The folder of the search. It gets `best.yaml`, and in `trials/` the run folder of each trial,
            without its model.
        trials: Number of trials, including those of an earlier search in the folder.
        search: The settings to vary, as ranges such as "learning_rate=1e-5..3e-4" or choices such as
            "freeze=none,all-but-2".
        config: A YAML file of fixed settings; keyword arguments override it.
        **settings: Fixed settings, as for `train`.

    Returns:
        One dictionary for each finished trial, the best first: `trial` (its number), the varied settings, `score` (on
        the validation rows, that of `monitor`) and `seconds` (of all epochs).

    Raises:
        InputError: If a setting or a file is invalid, or if the folder has another search.
        RunError: If no trial finished.

    Example:
        tune("sentiment", data="reviews.csv", output_dir="runs/search", trials=8)[0]["score"]

    Reference:
        Akiba et al. 2019 (Optuna), https://arxiv.org/abs/1907.10902
    """
    name, loaded = str(recipe), load_own_recipe(recipe)
    check_type("trials", trials, int, "an integer")
    settings, objects = take_memory_rows(settings, DATA)
    fixed, given = read_settings(loaded, config, settings)
    if search is DEFAULT_SEARCH:
        search = [text for text in DEFAULT_SEARCH if text.partition("=")[0] in fixed.names()]
    elif isinstance(search, str):
        search = [search]
    space = parse_search(search, fixed)
    if "monitor" in space:
        raise InputError("--search monitor: trials are compared by one score; choose it with --monitor")
    for key, (_, values) in space.items():
        for value in values:
            # The weights of a run to continue from fit its own encoder only.
            inherited_settings(loaded, {**given, key: value})
    monitor = monitor_of(loaded.task, fixed.monitor)
    given |= dict.fromkeys(space)
    folder = check_path("output_dir", output_dir)
    check_output(folder / BEST, "--output-dir", inputs=[Path(config)] if config else [])
    _check_search_folder(folder)
    dataset = load_rows(loaded, fixed, objects)
    # The test rows are not scored.
    dataset.splits.pop("test", None)

    def objective(trial: "optuna.Trial") -> float:
        """Train with the settings of a trial, and return the validation score; the weights are removed."""
        values = {key: _suggested(trial, key, *options) for key, options in space.items()}
        log(f"Trial {trial.number}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
        # A copy of the rows in each trial would be of no use.
        trial_settings = fixed.replaced({**values, "copy_data": False})
        path = _trial_folder(folder, trial.number)
        remove(path)
        with recorded_warnings() as trial_warnings:
            tracker = make_tracker(trial_settings.track)
            trainer = make_trainer(loaded, trial_settings, dataset, given)
        with release_gradients(), open_run(loaded, name, path, trainer.settings, dataset, tracker) as run:
            fit_and_score(run, trainer, tracker, trial_warnings)
        trial.set_user_attr("seconds", round(sum(epoch["seconds"] for epoch in run.training_state["epochs"]), 1))
        score = run.metrics["validation"][monitor]
        trial.set_user_attr("score", score)
        shutil.rmtree(path / CHECKPOINTS)
        (path / MODEL).unlink()
        log(f"Trial {trial.number}: {monitor.replace('_', ' ')} {_format_score(score)}")
        return goodness(monitor, score)

    is_new = not (folder / JOURNAL).is_file()
    # A new search whose first trial is refused leaves no folder.
    with rollback_on_error(folder) if is_new else contextlib.nullcontext():
        study = _load_study(folder, loaded, fixed, space, dataset)
        remaining = max(trials - len(_rows(study)), 0)
        log(f"Running {remaining} of {trials} trials in {folder}")
        if is_new:
            study.optimize(objective, n_trials=1, catch=(RunError,))
    # Ctrl-C ends the search with the trials so far.
    with contextlib.suppress(KeyboardInterrupt):
        study.optimize(objective, n_trials=remaining - is_new, catch=(RunError,))
    rows = _rows(study)
    if not rows:
        raise RunError(f"{folder}: no trial finished; lower the learning rates")
    _write_best(folder, name, rows[0], list(space), copy_data=fixed.copy_data)
    return rows


def parse_search(search: Sequence[str], fixed: TrainingSettings) -> dict[str, tuple[str, list[Any]]]:
    """Return the search space: for each setting ("range", its two ends) or ("choice", the values).

    Raises:
        InputError: If a setting or a value is invalid.
    """
    fields = {field.name: field for field in dataclasses.fields(fixed)}
    space = {}
    for text in check_type("search", search, Sequence, "a list of str"):
        check_type("search", text, str, "a list of str such as 'epochs=1..4'")
        key, _, values = text.partition("=")
        key = key.strip().replace("-", "_")
        if key not in fields or not values.strip():
            raise InputError(f"--search {text}: must be SETTING=LOW..HIGH or SETTING=A,B,C")
        kind, is_range = value_type(fields[key]), ".." in values
        parts = [part.strip() for part in values.split(".." if is_range else ",")]
        if is_range and (kind not in (int, float) or len(parts) != 2):
            raise InputError(f"--search {text}: a range needs a numeric setting and two ends")
        typed = [_typed(text, kind, part) for part in parts]
        for value in typed:
            fixed.replaced({key: value})
        if is_range and not typed[0] < typed[1]:
            raise InputError(f"--search {text}: the first end must be below the second")
        space[key] = ("range" if is_range else "choice", typed)
    return space


def _typed(text: str, kind: type, part: str) -> Any:
    if kind is bool:
        if part not in ("true", "false"):
            raise InputError(f"--search {text}: must be true or false")
        return part == "true"
    try:
        return kind(part)
    except ValueError:
        raise InputError(f"--search {text}: {part!r} is not a number") from None


def _check_search_folder(folder: Path) -> None:
    if importlib.util.find_spec("optuna") is None:
        raise InputError("tfhub-ft tune: needs Optuna; pip install 'tfhub_ft[tune]'")
    check_folder(folder)
    if contents(folder) and not (folder / JOURNAL).is_file():
        raise InputError(f"--output-dir {folder}: not empty, and without a search; choose another folder")


def _load_study(
    folder: Path, recipe: Recipe, fixed: TrainingSettings, space: Space, dataset: Dataset
) -> "optuna.Study":
    """Return the study in a folder, or a new one."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    study = optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)
    description = json.dumps([recipe.name, fixed.as_dict(), space, *dataset.memory_digests], sort_keys=True)
    if study.user_attrs.get("asked", description) != description:
        raise InputError(f"--output-dir {folder}: has a search with other settings or rows; choose another folder")
    study.set_user_attr("asked", description)
    seed = fixed.seed + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)
    return study


def _suggested(trial: "optuna.Trial", name: str, kind: str, values: list[Any]) -> Any:
    if kind == "choice":
        return trial.suggest_categorical(name, values)
    low, high = values
    is_log = low > 0 and high / low >= LOG_SCALE_RATIO
    suggest = trial.suggest_int if isinstance(low, int) else trial.suggest_float
    return suggest(name, low, high, log=is_log)


def _trial_folder(folder: Path, number: int) -> Path:
    return folder / TRIALS / f"{number:03}"


def _rows(study: "optuna.Study") -> list[dict[str, Any]]:
    """Return the finished trials, the best first."""
    rows = [
        # Trials of earlier versions lack the attribute "score", which was their value.
        (trial.values[0], {"trial": trial.number, **trial.params, "score": trial.values[0], **trial.user_attrs})
        for trial in study.trials
        if trial.state.name == "COMPLETE"
    ]
    return [row for _, row in sorted(rows, key=lambda pair: -pair[0])]


def _format_score(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.4f}"


def _write_best(folder: Path, name: str, best: Mapping[str, Any], varied: Sequence[str], *, copy_data: bool) -> None:
    import yaml

    settings = Run(_trial_folder(folder, best["trial"])).settings.as_dict()
    head = f"# best of a search: trial {best['trial']}, score {_format_score(best['score'])}; varied settings:"
    head += f" {', '.join(map(option_name, varied))}\n"
    content = {"recipe": name, **settings, "copy_data": copy_data}
    write_text(folder / BEST, head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
