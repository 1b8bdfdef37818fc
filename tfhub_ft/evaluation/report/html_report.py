"""The report of a run: one HTML file that works offline."""

import importlib.metadata
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.evaluation.report import classification_report, span_report  # noqa: F401  register their parts
from tfhub_ft.evaluation.report.parts import report_parts
from tfhub_ft.evaluation.report.plots import Picture, token_lengths, training_curves
from tfhub_ft.evaluation.report.report_tables import Listing, scores_listing
from tfhub_ft.evaluation.scored import Scored
from tfhub_ft.metrics.thresholds import precision_summary
from tfhub_ft.run import DISTILLATION, Run
from tfhub_ft.settings import option_name
from tfhub_ft.tasks.base import load_plugin
from tfhub_ft.utils.files import write_text

if TYPE_CHECKING:
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
)
CHIPS_SHOWN = 4


@dataclass(frozen=True)
class Training:
    """How a run was trained.

    Args:
        epochs: a row for each epoch, as history.csv has them.
        kept_epoch: the number of the epoch whose weights were kept.
        lengths: tokens of each training row, int (rows,).
        truncated: the training rows that had more tokens.
        unit: what has these lengths: rows, or the windows of long rows.
        weights: how many there are, and how many of them train.
        peak_memory: bytes.
    """

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
    scores: Mapping[str, Mapping[str, Any]],
    warnings: Sequence[str] = (),
    training: Training | None = None,
) -> None:
    """Write a report.

    Args:
        path: of the HTML file.
        run: whose model was scored.
        scored: the rows that the plots and tables show.
        of: what these rows are, in a few words.
        scores: by what they are of, for the table of scores.
        warnings: sentences that begin in lower case.
        training: how the run was trained; only a report of a training run has it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    plugin = load_plugin(scored.task)
    parts = plugin.report_parts(scored) if plugin else report_parts(scored.task, scored)
    page = Environment(
        loader=PackageLoader("tfhub_ft.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template("report.html")
    write_text(
        path,
        page.render(
            title=f"{run.recipe.name}: {run.path.name}",
            sentence=_sentence(run, scored, of),
            chips=_chips(scored.scores),
            warnings=[f"{warning[0].upper()}{warning[1:]}." for warning in warnings],
            scores=scores_listing(scores),
            threshold=precision_summary(scores, scored.labels, scored.thresholds),
            of=of,
            pictures=[part for part in parts if isinstance(part, Picture)],
            listings=[part for part in parts if isinstance(part, Listing)],
            training=_training_pictures(run, training) if training else [],
            facts=_facts(training) if training else [],
            data=[(name, split["file"], split["rows"]) for name, split in run.splits.items()],
            command=_command(run),
            settings=list(run.settings.as_dict().items()),
            versions=[("Python", platform.python_version()), *((name, _version(name)) for name in PACKAGES)],
            machine=f"{platform.system()} on {platform.machine()}",
        ),
    )


def _chips(scores: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The first scores of the page: name, value, and its interval."""
    intervals, chips = scores.get("intervals", {}), []
    for name in CHIPS:
        if scores.get(name) is not None and len(chips) < CHIPS_SHOWN:
            interval = "to".join(f" {end:.3f} " for end in intervals[name]).strip() if name in intervals else ""
            chips.append((name.replace("_", " "), f"{scores[name]:.3f}", interval))
    return chips


def _sentence(run: Run, scored: Scored, of: str) -> str:
    trained = run.splits["train"]["rows"]
    return (
        f"{run.recipe.summary} The {run.settings.pretrained}, fine-tuned on {trained:,} rows, and scored on"
        f" {len(scored.rows):,} {of}."
    )


def _training_pictures(run: Run, training: Training) -> list[Picture]:
    names = [("loss", "log_loss"), (run.recipe.task.monitor,) * 2]
    curves = [training_curves(training.epochs, *each, kept=training.kept_epoch) for each in names]
    return [*curves, token_lengths(training.lengths, run.settings.seq_length, training.truncated, training.unit)]


def _facts(training: Training) -> list[tuple[str, str]]:
    seconds = [row["seconds"] for row in training.epochs if row.get("seconds")]
    weights, trained = training.weights
    facts = [
        ("weights that train", f"{trained:,} of {weights:,}"),
        ("peak memory", f"{training.peak_memory / 1e6:,.0f} MB"),
    ]
    if seconds:
        facts += [
            ("seconds of an epoch", ", ".join(f"{each:.1f}" for each in seconds)),
            ("rows a second", f"{len(training.lengths) / min(seconds):,.0f}, validation included"),
        ]
    return facts


def _command(run: Run) -> str:
    """The command line that trains such a run."""
    if (run.path / DISTILLATION).is_file():
        return (run.path / DISTILLATION).read_text(encoding="utf-8")
    words = ["tfhub-ft", "train", run.recipe_name]
    for name, value in run.settings.as_dict().items():
        option = option_name(name)
        if value == getattr(run.recipe.settings, name):
            continue
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        else:
            words += [option, str(value)]
    return shlex.join([*words, "--output-dir", str(run.path)])


def _version(package: str) -> str:
    return importlib.metadata.version(package)
