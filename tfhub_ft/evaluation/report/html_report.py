"""The report of a run: one HTML file that works offline."""

import importlib.metadata
import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.data.locations import SplitEntry
from tfhub_ft.data.memory_rows import is_in_memory
from tfhub_ft.evaluation.console_tables import headlines
from tfhub_ft.evaluation.explanations import ExplainFn, check_explainable, make_explain_fn
from tfhub_ft.evaluation.report import classification_report, span_report  # noqa: F401  register their parts
from tfhub_ft.evaluation.report.parts import report_parts
from tfhub_ft.evaluation.report.plots import Plot, token_lengths, training_curves
from tfhub_ft.evaluation.report.report_tables import ReportTable, score_table
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.metrics import Scores
from tfhub_ft.metrics.thresholds import precision_summary
from tfhub_ft.run import DISTILLATION, Run
from tfhub_ft.settings import DATA, option_name
from tfhub_ft.tasks.base import load_plugin, monitor_of
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import write_text

if TYPE_CHECKING:
    import keras
    import numpy as np

PACKAGES = ("tfhub_ft", "tensorflow", "tensorflow-text", "tensorflow-hub", "keras", "numpy")
CHIPS = (
    "perplexity",
    "accuracy",
    "in_scope_accuracy",
    "f1",
    "f1_micro",
    "f1_macro",
    "exact_match",
    "roc_auc",
    "pearson",
    "spearman",
    "recall_at_1_of_10",
    "mean_reciprocal_rank_of_10",
)
CHIPS_SHOWN = 4
STEPS_OF_EXPLANATIONS = 32


@dataclass(frozen=True)
class Training:
    """How a run was trained: history.csv, tokens of the training rows or windows, all and trainable weights, bytes."""

    epochs: Sequence[Mapping[str, float | None]]
    kept_epoch: int
    lengths: "np.ndarray"
    truncated: int
    unit: str
    weights: tuple[int, int]
    peak_memory: int


def write_report(
    path: Path,
    run: Run,
    scored: Scored,
    *,
    of: str,
    scores: Mapping[str, Scores],
    warnings: Sequence[str] = (),
    training: Training | None = None,
    model: "keras.Model | None" = None,
) -> None:
    """Write the report of rows that a run has scored; `of` describes them, such as "test rows".

    With the model, the report shows the words that made wrong predictions.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    plugin = load_plugin(scored.task)
    scored = replace(scored, explain=_explain_fn(run, model))
    parts = plugin.report_parts(scored) if plugin else report_parts(scored.task, scored)
    page = Environment(
        loader=PackageLoader("tfhub_ft.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template("report.html")
    summary = (
        f"{run.recipe.summary} The {run.settings.pretrained} was fine-tuned on {run.splits['train']['rows']:,} rows and"
        f" scored on {len(scored.rows):,} {of}."
    )
    if run.keras_arguments:
        summary += f" It was trained from Python with {_keras_objects(run)}."
    if run.settings.from_run:
        summary += f" It continued from {run.settings.from_run} (SHA-256 of its model: {run.from_run_sha256})."
    files = [[name, _source(split), split["rows"]] for name, split in run.splits.items()]
    html = page.render(
        title=f"{run.recipe.name}: {run.path.name}",
        summary=summary,
        chips=_chips(scored.scores),
        warnings=[f"{warning[0].upper()}{warning[1:]}." for warning in warnings],
        scores=score_table(scores),
        threshold=precision_summary(scores, scored.labels, scored.thresholds),
        of=of,
        plots=[part for part in parts if isinstance(part, Plot)],
        tables=[part for part in parts if isinstance(part, ReportTable)],
        training=_training_plots(run, training) if training else [],
        facts=_facts(training) if training else [],
        data=ReportTable("", "", ["split", "file", "rows"], files),
        command=_command(run),
        settings=list(run.settings.as_dict().items()),
        versions=[
            ("Python", platform.python_version()),
            *((name, importlib.metadata.version(name)) for name in PACKAGES),
            ("machine", f"{platform.system()} on {platform.machine()}"),
        ],
    )
    write_text(path, html)


def _source(split: SplitEntry) -> str:
    """Return the file of a split, or what identifies rows that were in memory."""
    return f"{split['file']} (SHA-256 {split['sha256']})" if is_in_memory(split["file"]) else split["file"]


def _explain_fn(run: Run, model: "keras.Model | None") -> ExplainFn | None:
    """Return a function that explains predictions; None if predictions of the run cannot be explained."""
    if model is None:
        return None
    try:
        check_explainable(run.recipe.task, run.settings, run.path)
    except InputError:
        return None
    return lambda rows, predictions: make_explain_fn(
        run.recipe.task, model, run.labels, max_steps=STEPS_OF_EXPLANATIONS
    )(rows, predictions)


def _chips(scores: Scores) -> list[tuple[str, str, str]]:
    """Return the name, the value and the interval of the most important scores."""
    intervals, chips = scores.get("intervals", {}), []
    distinct = headlines({"": scores})
    for name in CHIPS:
        if name in distinct and scores[name] is not None:
            interval = " to ".join(f"{end:.3f}" for end in intervals.get(name, ()))
            chips.append((name.replace("_", " "), f"{scores[name]:.3f}", interval))
    return chips[:CHIPS_SHOWN]


def _training_plots(run: Run, training: Training) -> list[Plot]:
    monitor = monitor_of(run.recipe.task, run.settings.monitor)
    names = [("loss", "log_loss"), *([(monitor, monitor)] if monitor != "log_loss" else [])]
    curves = [training_curves(training.epochs, *pair, kept=training.kept_epoch) for pair in names]
    return [*curves, token_lengths(training.lengths, run.settings.seq_length, training.truncated, training.unit)]


def _keras_objects(run: Run) -> str:
    """Return the arguments of `train` with objects of Keras, such as "optimizer=Lion, metrics=[AUC]"."""
    arguments = run.keras_arguments.items()
    shown = {name: f"[{', '.join(value)}]" if isinstance(value, list) else value for name, value in arguments if value}
    return ", ".join(f"{name}={shown[name]}" for name in ("optimizer", "callbacks", "metrics") if name in shown)


def _facts(training: Training) -> list[tuple[str, str]]:
    seconds = [row_seconds for row in training.epochs if (row_seconds := row.get("seconds"))]
    weights, trained = training.weights
    facts = [
        ("trainable weights", f"{trained:,} of {weights:,}"),
        ("peak memory", f"{training.peak_memory / 1e6:,.0f} MB"),
    ]
    if seconds:
        facts += [
            ("seconds per epoch", ", ".join(f"{each:.1f}" for each in seconds)),
            (f"{training.unit} per second", f"{len(training.lengths) / min(seconds):,.0f}, including validation"),
        ]
    return facts


def _command(run: Run) -> str:
    """Return the command line that trains such a run, which cannot have the objects of Keras.

    For rows in memory it is a line of Python.
    """
    if (run.path / DISTILLATION).is_file():
        return (run.path / DISTILLATION).read_text(encoding="utf-8")
    defaults = run.recipe.settings
    changed = {name: value for name, value in run.settings.as_dict().items() if value != getattr(defaults, name)}
    if in_memory := [name for name in DATA if is_in_memory(changed.get(name))]:
        given = {**changed, "output_dir": str(run.path)}
        arguments = [f"{name}={'...' if name in in_memory else repr(value)}" for name, value in given.items()]
        return f"tfhub_ft.train({', '.join([repr(run.recipe_name), *arguments])})"
    words = ["tfhub-ft", "train", run.recipe_name]
    for name, value in changed.items():
        option = option_name(name)
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        else:
            words += [option, json.dumps(value) if isinstance(value, dict) else str(value)]
    return shlex.join([*words, "--output-dir", str(run.path)])
