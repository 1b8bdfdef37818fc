"""Score a trained model on held-out rows, and write the results of a run."""

import json
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.datasets import Dataset
from tfhub_ft.data.kept_rows import KeptRows
from tfhub_ft.data.labels import count_labels
from tfhub_ft.encoders.encoder_pair import write_pair
from tfhub_ft.evaluation.report import html_report
from tfhub_ft.evaluation.scored import Scored, held_out_scores, score_warnings
from tfhub_ft.models.heads import apply_temperature
from tfhub_ft.run import CALIBRATION, CHECKPOINTS, KEPT_ROWS, METRICS, MODEL, REPORT, SAMPLE, THRESHOLDS, Run
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


@dataclass(frozen=True)
class Generations:
    """What a model generates before it trains.

    Args:
        evaluator: scores what the model generates to some rows as it is when called.
        scores: of the untrained model.
        replies: of the untrained model, one for each of the evaluator's rows.
    """

    evaluator: Any
    scores: dict[str, Any]
    replies: list[str]


def write_samples(run: Run, task: Task, dataset: Dataset, seed: int) -> None:
    """Keep some rows with the run, for what needs rows after their files have gone."""
    rows = dataset.splits["validation"].rows
    chosen = random.Random(seed).sample(rows, min(SAMPLE_ROWS, len(rows)))
    lines = [json.dumps(task.prediction_inputs(row), ensure_ascii=False) for row in chosen]
    write_text(run.path / SAMPLE, "\n".join(lines) + "\n")
    KeptRows.drawn_from(dataset.splits, seed).write(run.path / KEPT_ROWS)


def score_untrained(trainer: Trainer) -> Generations | None:
    """Score a model that generates text before it trains; None for all other models."""
    task, dataset = trainer.recipe.task, trainer.dataset
    plugin, name = load_plugin(task), _last(dataset)
    if plugin is None:
        return None
    rows = dataset.splits[name].rows
    evaluator = plugin.generation_evaluator(trainer.built.model, rows, trainer.settings)
    log(f"Scoring the model before it trains, on {len(rows):,} {name} rows")
    metrics = task.metrics(trainer.score_fn()(trainer.tokens[name]), dataset.targets[name], dataset.labels, {})
    scores, replies = evaluator()
    return Generations(evaluator, {**metrics, **scores}, replies)


def score_trained(
    trainer: Trainer, checkpoints: Checkpoints, before: Generations | None
) -> tuple[dict[str, Any], Scored]:
    """Calibrate a trained model and score it.

    Args:
        trainer: with the weights of the best epoch.
        checkpoints: know the epochs, and what the validation rows say of the best one.
        before: what `score_untrained` returned.

    Returns:
        The scores of each split, and the last split's rows as a report shows them.
    """
    task, dataset, name = trainer.recipe.task, trainer.dataset, "validation"
    labels, state, validation = dataset.labels, checkpoints.state, checkpoints.best_validation
    score = trainer.score_fn()
    if validation is None:
        log(f"Scoring {len(dataset.splits[name].rows):,} validation rows")
        validation = trainer.validated(score(trainer.tokens[name]))
    logits, thresholds = validation.logits, validation.decision
    train = _train_scores(trainer, state["epochs"][state["best_epoch"] - 1])
    scores = {"train": train, name: held_out_scores(task, logits, dataset.targets[name], labels, thresholds, train)}
    if validation.calibration:
        apply_temperature(trainer.network, validation.calibration["temperature"])
    if _last(dataset) == "test":
        name = "test"
        log(f"Scoring {len(dataset.splits[name].rows):,} test rows")
        logits = score(trainer.tokens[name])
        scores[name] = held_out_scores(task, logits, dataset.targets[name], labels, thresholds, train)
    rows, targets = dataset.splits[name].rows, dataset.targets[name]
    scored = Scored(task, rows, logits, targets, labels, thresholds, validation.calibration, scores[name])
    return _with_generations(scores, scored, before) if before else (scores, scored)


def _train_scores(trainer: Trainer, best_epoch: dict[str, Any]) -> dict[str, Any]:
    rows = trainer.dataset.splits["train"].rows
    label_rows = dict(count_labels(trainer.recipe.task, rows).most_common())
    labeled = {"label_rows": label_rows} if label_rows else {}
    metrics = {name: value for name, value in best_epoch.items() if name != "seconds" and not name.startswith("val_")}
    return {"rows": len(rows), **labeled, "trained_weights": trainer.trained_weights, **metrics}


def _with_generations(scores: dict[str, Any], scored: Scored, before: Generations) -> tuple[dict[str, Any], Scored]:
    """Add what a model generates before and after its training."""
    after, replies = before.evaluator()
    (_, train), *others, (name, last) = scores.items()
    scores = {"train": train, "untrained": before.scores, **dict(others), name: {**last, **after}}
    written = before.evaluator.beside(before=before.replies, trained=replies)
    return scores, replace(scored, scores=scores[name], written=written)


def write_results(
    run: Run, trainer: Trainer, checkpoints: Checkpoints, scores: dict[str, Any], scored: Scored, tracker: "Tracker"
) -> None:
    """Write the model, its thresholds, the report and the scores into the run folder; metrics.json finishes the run."""
    task, built = trainer.recipe.task, trainer.built
    with recorded_warnings() as warnings:
        held_out = {name: scores[name] for name in ("validation", "test") if name in scores}
        for warning in score_warnings(task, held_out, scored.thresholds):
            warn(warning)
    run.add_warnings(warnings)
    with atomic_write(run.path / MODEL) as aside:
        task.inference_model(built.model, trainer.dataset.labels).save(aside)
    if task.keeps_encoder:
        write_pair(built.layer, built.preprocessor, run.path)
    write_json(run.path / THRESHOLDS, scored.thresholds)
    write_json(run.path / CALIBRATION, scored.calibration)
    _write_report(run, trainer, checkpoints.state, scores, scored)
    write_json(run.path / METRICS, scores)
    remove_weights(run.path / CHECKPOINTS)
    tracker.finish(run)
    # No worker leaves before the chief has written all.
    sum_over_workers(trainer.strategy, [0])


def _write_report(run: Run, trainer: Trainer, state: dict[str, Any], scores: dict[str, Any], scored: Scored) -> None:
    tokens = trainer.tokens["train"]
    training = html_report.Training(
        epochs=state["epochs"],
        kept_epoch=state["best_epoch"],
        lengths=tokens.lengths,
        truncated=tokens.truncated_rows,
        unit=trainer.recipe.task.example_unit,
        weights=(trainer.network.count_params(), trainer.trained_weights),
        peak_memory=peak_memory(),
    )
    html_report.write_report(
        run.path / REPORT,
        run,
        scored,
        of=f"{_last(trainer.dataset)} rows",
        scores=scores,
        warnings=run.warnings,
        training=training,
    )


def _last(dataset: Dataset) -> str:
    """Return the split that a report shows: the test rows, or the validation rows where there are none."""
    return list(dataset.splits)[-1]
