"""Score a trained model on held-out rows, and write the results of a run."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.datasets import Dataset
from tfhub_ft.data.kept_rows import KeptRows
from tfhub_ft.data.labels import count_labels
from tfhub_ft.data.row_writers import write_rows
from tfhub_ft.encoders.encoder_pair import write_pair
from tfhub_ft.evaluation.predictions import predicted_rows
from tfhub_ft.evaluation.report import html_report
from tfhub_ft.evaluation.scored import Scored, held_out_scores, score_warnings
from tfhub_ft.models.heads import apply_temperature
from tfhub_ft.run import (
    CALIBRATION,
    CHECKPOINTS,
    KEPT_ROWS,
    METRICS,
    MODEL,
    PREDICTIONS,
    REPORT,
    SAMPLE,
    THRESHOLDS,
    Run,
)
from tfhub_ft.tasks.base import Task, load_plugin
from tfhub_ft.training.callbacks import Checkpoints, remove_weights
from tfhub_ft.training.trainer import Trainer
from tfhub_ft.utils.console import log, recorded_warnings, warn
from tfhub_ft.utils.devices import sum_over_workers
from tfhub_ft.utils.files import atomic_write, write_json, write_text
from tfhub_ft.utils.memory import peak_memory

if TYPE_CHECKING:
    from tfhub_ft.training.tracking import Tracker

SAMPLE_ROWS = 200
Scores = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Generations:
    """What a model generates before training: its scores, and a reply for each row of the evaluator."""

    evaluator: Any
    scores: dict[str, Any]
    replies: list[str]


def fit_and_score(run: Run, trainer: Trainer, tracker: "Tracker", warnings: Sequence[str]) -> None:
    """Train the trainer's model, score it and write the results: the last steps of `train`."""
    run.add_warnings(warnings)
    write_samples(run, trainer.recipe.task, trainer.dataset, trainer.settings.seed)
    untrained = score_untrained(trainer)
    checkpoints = trainer.fit(run, tracker)
    write_results(run, trainer, checkpoints, *score_trained(trainer, checkpoints, untrained), tracker)


def write_samples(run: Run, task: Task, dataset: Dataset, seed: int) -> None:
    """Write some rows into the run folder, for use after the data files are gone."""
    rows = dataset.splits["validation"].rows
    sample = random.Random(seed).sample(rows, min(SAMPLE_ROWS, len(rows)))
    lines = [json.dumps(task.prediction_inputs(row), ensure_ascii=False) for row in sample]
    write_text(run.path / SAMPLE, "\n".join(lines) + "\n")
    KeptRows.drawn_from(dataset.splits, seed).write(run.path / KEPT_ROWS)


def score_untrained(trainer: Trainer) -> Generations | None:
    """Score a model that generates text before it trains; return None for all other models."""
    task, dataset = trainer.recipe.task, trainer.dataset
    plugin, name = load_plugin(task), _last_split(dataset)
    if plugin is None:
        return None
    rows = dataset.splits[name].rows
    evaluator = plugin.generation_evaluator(trainer.built.model, rows, trainer.settings)
    log(f"Scoring the untrained model on {len(rows):,} {name} rows")
    metrics = task.metrics(trainer.score_fn()(trainer.tokens[name]), dataset.targets[name], dataset.labels, {})
    scores, replies = evaluator()
    return Generations(evaluator, {**metrics, **scores}, replies)


def score_trained(trainer: Trainer, checkpoints: Checkpoints, before: Generations | None) -> tuple[Scores, Scored]:
    """Calibrate a trained model, and return its scores by split and the scored rows of the last split."""
    task, dataset, name = trainer.recipe.task, trainer.dataset, "validation"
    labels, state, validation = dataset.labels, checkpoints.state, checkpoints.best_validation
    score = trainer.score_fn()
    if validation is None:
        log(f"Scoring {len(dataset.splits[name].rows):,} validation rows")
        validation = trainer.validated(score(trainer.tokens[name]))
    logits, thresholds = validation.logits, validation.thresholds
    train = _train_scores(trainer, state["epochs"][state["best_epoch"] - 1])
    scores = {"train": train, name: held_out_scores(task, logits, dataset.targets[name], labels, thresholds, train)}
    if validation.calibration:
        apply_temperature(trainer.network, validation.calibration["temperature"])
    if _last_split(dataset) == "test":
        name = "test"
        log(f"Scoring {len(dataset.splits[name].rows):,} test rows")
        logits = score(trainer.tokens[name])
        scores[name] = held_out_scores(task, logits, dataset.targets[name], labels, thresholds, train)
    rows, targets = dataset.splits[name].rows, dataset.targets[name]
    scored = Scored(task, rows, logits, targets, labels, thresholds, validation.calibration, scores[name])
    if before is None:
        return scores, scored
    metrics, replies = before.evaluator()
    scores[name] |= metrics
    scores = {"train": scores.pop("train"), "untrained": before.scores, **scores}
    written = before.evaluator.reply_table(before=before.replies, trained=replies)
    return scores, replace(scored, written=written)


def _train_scores(trainer: Trainer, best_epoch: dict[str, Any]) -> dict[str, Any]:
    rows = trainer.dataset.splits["train"].rows
    label_rows = dict(count_labels(trainer.recipe.task, rows).most_common())
    labeled = {"label_rows": label_rows} if label_rows else {}
    metrics = {name: value for name, value in best_epoch.items() if name != "seconds" and not name.startswith("val_")}
    return {"rows": len(rows), **labeled, "trained_weights": trainer.trained_weights, **metrics}


def write_results(
    run: Run, trainer: Trainer, checkpoints: Checkpoints, scores: Scores, scored: Scored, tracker: "Tracker"
) -> None:
    """Write the model, its thresholds, the report and the scores into the run folder; metrics.json finishes the run."""
    task, built = trainer.recipe.task, trainer.built
    with recorded_warnings() as warnings:
        held_out = {name: scores[name] for name in ("validation", "test") if name in scores}
        for warning in score_warnings(task, held_out, dict(scored.thresholds)):
            warn(warning)
        if all(epoch.get(f"val_{trainer.monitor}") is None for epoch in checkpoints.state["epochs"]):
            warn(f"{trainer.monitor} is undefined on the validation rows, so the log loss selected the best epoch")
    run.add_warnings(warnings)
    model = task.inference_model(built.model, trainer.dataset.labels)
    with atomic_write(run.path / MODEL) as aside:
        model.save(aside)
    if task.keeps_encoder:
        write_pair(built.layer, built.preprocessor, run.path)
    write_json(run.path / THRESHOLDS, scored.thresholds)
    write_json(run.path / CALIBRATION, scored.calibration)
    split = _last_split(trainer.dataset)
    write_rows(predicted_rows(scored, model, trainer.tokens[split]), run.path / PREDICTIONS)
    tokens = trainer.tokens["train"]
    training = html_report.Training(
        epochs=checkpoints.state["epochs"],
        kept_epoch=checkpoints.state["best_epoch"],
        lengths=tokens.lengths,
        truncated=tokens.truncated_rows,
        unit=task.example_unit,
        weights=(trainer.network.count_params(), trainer.trained_weights),
        peak_memory=peak_memory(),
    )
    html_report.write_report(
        run.path / REPORT,
        run,
        scored,
        of=f"{split} rows",
        scores=scores,
        warnings=run.warnings,
        training=training,
        model=built.model,
    )
    write_json(run.path / METRICS, scores)
    remove_weights(run.path / CHECKPOINTS)
    tracker.finish(run)
    # No worker exits before the chief has written all files.
    sum_over_workers(trainer.strategy, [0])


def _last_split(dataset: Dataset) -> str:
    """Return the split that the report shows: test, or validation without test rows."""
    return list(dataset.splits)[-1]
