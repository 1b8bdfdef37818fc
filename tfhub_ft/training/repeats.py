"""Train several seeds or folds, summarize their scores and keep the median run."""

import contextlib
import html
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfhub_ft.data.datasets import Dataset, Fold
from tfhub_ft.data.memory_rows import MemoryRows, take_memory_rows
from tfhub_ft.metrics import Scores, goodness
from tfhub_ft.metrics.intervals import mean_interval
from tfhub_ft.recipe import Recipe, load_own_recipe
from tfhub_ft.run import RECIPE, REPEATS, REPORT, SPLITS, Run
from tfhub_ft.settings import DATA, TrainingSettings
from tfhub_ft.training.keras_arguments import KerasArguments
from tfhub_ft.training.start import (
    check_unchanged,
    given_settings,
    load_rows,
    new_folder,
    next_folder,
    read_settings,
)
from tfhub_ft.utils.arguments import check_type
from tfhub_ft.utils.console import log
from tfhub_ft.utils.documents import read_json
from tfhub_ft.utils.errors import InputError, Preempted
from tfhub_ft.utils.files import locked, remove, remove_stale_scratch, write_json, write_text
from tfhub_ft.utils.memory import release_memory

FOLDER = "repeats"
MOST_SEED = 2**31 - 2
SHAPE = {"kind": str, "count": int, "first_seed": int, "recipe": str, "settings": dict, "keras": dict, "runs": [dict]}


@dataclass(frozen=True)
class Repeat:
    """One of several seeds or folds, counted from 0; `begin` is called when its run folder exists."""

    kind: str
    count: int
    number: int
    begin: Callable[[], None]

    def load_rows(self, recipe: Recipe, settings: TrainingSettings, objects: Mapping[str, MemoryRows]) -> Dataset:
        """Return the rows: those of the fold, or for all seeds those that the first one has."""
        if self.kind == "folds":
            return load_rows(recipe, settings, objects, fold=Fold(self.number, self.count))
        return load_rows(recipe, settings.replaced({"seed": settings.seed - self.number}), objects)


def check_repeats(folds: int | None, seeds: int | None) -> tuple[str, int] | None:
    """Return the kind and the number of repeats that are asked for; None for a single run."""
    for name, count in (("folds", folds), ("seeds", seeds)):
        if count is not None and check_type(name, count, int, "an integer") < 2:
            raise InputError(f"--{name} {count}: must be at least 2; omit it to train one run")
    if folds is not None and seeds is not None:
        raise InputError("--folds: cannot be combined with --seeds; train once with each of them")
    return ("folds", folds) if folds is not None else ("seeds", seeds) if seeds is not None else None


def check_repeatable(settings: TrainingSettings, kind: str, count: int) -> None:
    """Raise an InputError for settings that cannot be repeated."""
    if settings.strategy == "multi-worker":
        raise InputError(f"--{kind}: not available with several workers; mirrored uses all GPUs of a machine")
    if settings.prepared:
        raise InputError(f"--prepared: cannot be combined with --{kind}, as its rows have a seed; pass files")
    if kind == "folds" and settings.train:
        raise InputError("--train: cannot be combined with --folds, which splits all rows; pass one file as --data")
    if kind == "seeds" and settings.seed + count - 1 > MOST_SEED:
        raise InputError(f"--seeds {count}: with --seed {settings.seed}, seeds exceed {MOST_SEED}; choose a lower seed")


def is_unfinished(folder: Path | None) -> bool:
    """Return whether a folder has seeds or folds of which not all are trained."""
    return folder is not None and (folder / REPEATS).is_file() and _has_repeats(folder)


def _has_repeats(folder: Path) -> bool:
    return (folder / FOLDER).is_dir() or not (folder / RECIPE).is_file()


def train_repeats(
    train_run: Callable[..., Run],
    recipe: str | Path,
    output_dir: Path | None,
    config: str | Path | None,
    settings: Mapping[str, Any],
    keras_arguments: KerasArguments,
    *,
    repeats: tuple[str, int] | None,
    resume: bool,
    recover: bool,
) -> Run:
    """Train several seeds or folds with `train_run`, and return the median run.

    The runs are trained in the folder `repeats/` of the run folder. The one with the median score becomes the run
    folder, with the scores of all in `repeats.json`; the others are removed.
    """
    keras_arguments.check_repeated()
    settings, objects = take_memory_rows(settings, DATA)
    with contextlib.ExitStack() as stack:
        if resume or recover:
            assert output_dir
            folder = output_dir
            stack.enter_context(_locked(folder))
            state = _resumed_state(folder, recipe, config, settings, objects, keras_arguments, repeats)
        else:
            assert repeats
            loaded = load_own_recipe(recipe)
            resolved, given = read_settings(loaded, config, settings)
            check_repeatable(resolved, *repeats)
            folder = new_folder(output_dir or next_folder(loaded.name))
            defaults = loaded.settings.as_dict()
            changed = {k: v for k, v in resolved.as_dict().items() if k in given or v != defaults[k]}
            state = {
                **{"kind": repeats[0], "count": repeats[1], "recipe": loaded.name, "settings": changed},
                **{"first_seed": resolved.seed, "keras": keras_arguments.described, "runs": []},
            }

        def begin() -> None:
            if not (folder / REPEATS).is_file():
                folder.mkdir(parents=True, exist_ok=True)
                write_json(folder / REPEATS, state)
                stack.enter_context(_locked(folder))

        for number in range(len(state["runs"]), state["count"]):
            try:
                run = _train_number(
                    train_run, recipe, folder, state, objects, keras_arguments, number, begin, recover=recover
                )
            except Preempted:
                raise Preempted(f"{folder}: stopped by a signal and saved; continue with --resume") from None
            state["runs"].append({"name": _name(state, number), **_scores(run)})
            write_json(folder / REPEATS, state)
            release_memory()
        if "kept" not in state:
            state |= _summary(Run(_inner(folder, state, 0)), state["runs"])
            write_json(folder / REPEATS, state)
        _keep(folder, _inner(folder, state, state["kept"]), state)
    return Run(folder)


def _train_number(
    train_run: Callable[..., Run],
    recipe: str | Path,
    folder: Path,
    state: Mapping[str, Any],
    objects: Mapping[str, MemoryRows],
    keras_arguments: KerasArguments,
    number: int,
    begin: Callable[[], None],
    *,
    recover: bool,
) -> Run:
    """Train, or resume, one of the runs."""
    path = _inner(folder, state, number)
    log(f"Training {_name(state, number)}, {number + 1} of {state['count']}")
    is_started = (path / RECIPE).is_file()
    if is_started and Run(path).finished:
        return Run(path)
    # A run that continues has its settings; rows in memory are passed again.
    settings = {} if is_started else dict(state["settings"])
    if state["kind"] == "seeds" and not is_started:
        settings["seed"] = state["first_seed"] + number
    is_recovered = is_started and recover and bool(Run(path).training_state.get("diverged"))
    return train_run(
        recipe,
        path,
        None,
        {**settings, **objects},
        keras_arguments,
        resume=is_started and not is_recovered,
        recover=is_recovered,
        repeat=Repeat(state["kind"], state["count"], number, begin),
    )


def _resumed_state(
    folder: Path,
    recipe: str | Path,
    config: str | Path | None,
    settings: Mapping[str, Any],
    objects: Mapping[str, MemoryRows],
    keras_arguments: KerasArguments,
    repeats: tuple[str, int] | None,
) -> dict[str, Any]:
    """Return the content of repeats.json; raise an InputError if its runs have other settings than those given."""
    state = read_json(folder / REPEATS, SHAPE)
    loaded = load_own_recipe(recipe)
    if loaded.name != state["recipe"]:
        raise InputError(f"{folder}: has runs of recipe {state['recipe']}, not {loaded.name}; pass its recipe")
    if repeats not in (None, (state["kind"], state["count"])):
        raise InputError(
            f"--{repeats[0]} {repeats[1]}: {folder} was started with --{state['kind']} {state['count']}; leave it out"
        )
    given = given_settings(loaded, config, settings)
    check_unchanged(loaded.settings.replaced(state["settings"]), given, objects, f"the runs in {folder} were")
    if keras_arguments.described != state["keras"]:
        raise InputError(f"{folder}: was started with other callbacks, metrics or optimizer; pass the same")
    return state


def _name(state: Mapping[str, Any], number: int) -> str:
    return f"seed {state['first_seed'] + number}" if state["kind"] == "seeds" else f"fold {number + 1}"


def _inner(folder: Path, state: Mapping[str, Any], number: int) -> Path:
    return folder / FOLDER / _name(state, number).replace(" ", "-")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with locked(folder, f"{folder}: in use, another process trains in it; try again later"):
        remove_stale_scratch(folder)
        yield


def _scores(run: Run) -> dict[str, Any]:
    """Return the epoch that a run kept and its held-out scores that are numbers."""

    def numbers(scores: Scores) -> dict[str, float | None]:
        return {name: value for name, value in scores.items() if value is None or isinstance(value, float)}

    metrics = run.metrics
    held_out = {name: numbers(scores) for name, scores in metrics.items() if name != "train"}
    return {"epoch": metrics["train"].get("epoch"), **held_out}


def _summary(run: Run, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean, deviation and interval of each score, and the index of the run with the median one."""
    import numpy as np

    task, split = run.recipe.task, "test" if "test" in runs[0] else "validation"
    metric = task.primary_metric if task.primary_metric in runs[0][split] else task.monitor
    assert metric
    summary = {}
    for name in runs[0][split]:
        values = [value for each in runs if (value := each[split].get(name)) is not None]
        if len(values) > 1:
            summary[name] = {
                "mean": float(np.mean(values)),
                "deviation": float(np.std(values, ddof=1)),
                "interval": mean_interval(values),
            }
    order = sorted(range(len(runs)), key=lambda number: goodness(metric, runs[number][split][metric]))
    return {"metric": metric, "split": split, "kept": order[(len(runs) - 1) // 2], "summary": summary}


def _keep(folder: Path, kept: Path, state: Mapping[str, Any]) -> None:
    """Move the files of the kept run into the run folder, recipe.yaml last, and remove the other runs."""
    if (kept / RECIPE).is_file():
        _write_splits(kept, folder)
        _write_report(kept, folder, state)
        # A killed process may have moved some of them.
        for path in sorted(kept.iterdir(), key=lambda path: path.name == RECIPE):
            if path.name not in (SPLITS, REPORT):
                remove(folder / path.name)
                path.rename(folder / path.name)
    remove(folder / FOLDER)


def _write_splits(kept: Path, folder: Path) -> None:
    """Write splits.json with paths relative to the run folder."""
    splits = read_json(kept / SPLITS, dict)
    for split in splits.values():
        if relative := split.get("relative"):
            split["relative"] = os.path.relpath(os.path.realpath(kept / relative), os.path.realpath(folder))
    write_json(folder / SPLITS, splits)


def _write_report(kept: Path, folder: Path, state: Mapping[str, Any]) -> None:
    """Write the report of the kept run with a table of all runs."""
    from tfhub_ft.evaluation.console_tables import repeats_caption, repeats_cells

    columns, rows = repeats_cells(state)
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    options = f"--{state['kind']} {state['count']} --seed {state['first_seed']}"
    how = f"The command below trains all of them with {options} in place of its seed."
    section = (
        f'<section id="repeats">\n<h2>All {state["kind"]}</h2>\n'
        f'<p class="caption">{html.escape(f"{repeats_caption(state)} {how}")}</p>\n'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n</section>\n'
    )
    text = (kept / REPORT).read_text(encoding="utf-8").replace(html.escape(str(kept)), html.escape(str(folder)))
    # The title ends with the name of the run folder.
    text = text.replace(f": {kept.name}<", f": {html.escape(folder.resolve().name)}<")
    write_text(folder / REPORT, text.replace('<section id="reproduce">', section + '<section id="reproduce">', 1))
