"""One training in progress: a model, its rows as tokens, and what is done with them."""

import contextlib
import json
import math
import random
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.batches import truncation_warning
from tfhub_ft.data.datasets import Dataset
from tfhub_ft.data.kept_rows import KeptRows
from tfhub_ft.data.labels import count_labels
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.encoders.encoder_pair import write_pair
from tfhub_ft.evaluation.scored import Scored, held_out_scores, score_warnings, scoring_precision
from tfhub_ft.recipe import Recipe
from tfhub_ft.run import (
    ADAPTER,
    CALIBRATION,
    CHECKPOINTS,
    DECISION,
    HISTORY,
    KEPT_ROWS,
    LOGS,
    METRICS,
    MODEL,
    REPORT,
    SAMPLE,
    TRACKED,
    Run,
)
from tfhub_ft.settings import TrainingSettings
from tfhub_ft.tasks.base import load_plugin
from tfhub_ft.utils.console import log, recorded_warnings, warn
from tfhub_ft.utils.errors import InputError, RowError, RunError
from tfhub_ft.utils.files import atomic_write, write_json, write_text
from tfhub_ft.utils.processes import check_not_forked

if TYPE_CHECKING:
    import keras

    from tfhub_ft.data.batches import TokenRows, TrainingBatches
    from tfhub_ft.evaluation.validation import Validated
    from tfhub_ft.models.frozen_features import FrozenFeatureExtractor
    from tfhub_ft.training.callbacks import Checkpoints, ValidationScores
    from tfhub_ft.training.train_step import TrainStepModel

SAMPLE_ROWS = 200
FEATURE_STEPS = 16


@contextlib.contextmanager
def pooler_left_out() -> Iterator[None]:
    """Within this context Keras does not warn of a pooler that no head stands on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Gradients do not exist for variables \[('\S*pooler\S*'(, )?)+\]")
        yield


class Training:
    """One training in progress: the model, its rows as tokens, and what is done with them.

    Args:
        recipe: makes the model.
        settings: of the training.
        data: the rows.

    Raises:
        InputError: the encoder cannot be had or does not fit the settings.
    """

    def __init__(self, recipe: Recipe, settings: TrainingSettings, data: Dataset):
        from tfhub_ft.training.distribution import build_strategy, is_chief
        from tfhub_ft.training.pretrained import fetch, prepare
        from tfhub_ft.training.tracking import tracker_of
        from tfhub_ft.utils.precision import keep_freed_memory, resolve_precision, seed_everything

        check_not_forked(f"a training by the recipe {recipe.name}")
        self.recipe, self.settings, self.data = recipe, settings, data
        self.tracker = tracker_of(settings.track if is_chief(settings.strategy) else None)
        keep_freed_memory()
        # Before anything else is done with TensorFlow.
        self.strategy = build_strategy(settings.strategy)
        seed_everything(settings.seed)
        log(f"Loading {settings.pretrained}")
        if self.strategy.num_replicas_in_sync > 1:
            fetch(recipe.task, settings)
        with self.strategy.scope():
            self.model = self.recipe.build(self.settings, self.data.labels)
            self.network = self.model.get_layer("token_model")
            self.encoder, self.rates, self.stages = prepare(recipe.task, self.network, settings)
        self.preprocessor = self.model.get_layer("preprocessor")
        self._check_shapes()
        self._check_vocabulary()
        read = "Reading tokens of" if data.prepared else "Tokenizing"
        log(f"{read} {sum(len(s.rows) for s in self.data.splits.values()):,} rows")
        self.tokens = {name: self._tokenize(name) for name in self.data.splits}
        self._warn_of_truncation()
        self._initialize_head()
        self._check_that_something_trains()
        self.precision = resolve_precision(settings.precision)
        self.frozen = self._frozen_body()

    def _check_vocabulary(self) -> None:
        words = getattr(self.encoder, "word_embeddings", None)
        tokens = getattr(self.preprocessor, "vocabulary_size", None)
        if words is not None and tokens is not None and tokens > words.shape[0]:
            raise InputError(
                f"--preprocessor {self.settings.preprocessor or self.settings.encoder}: has {tokens:,} tokens, but"
                f" --encoder {self.settings.encoder} has embeddings for {words.shape[0]:,}; choose those that belong"
                " together"
            )

    def reach_min_steps(self, given: Collection[str]) -> None:
        """Add epochs, and as much patience, until the settings' minimum number of steps is reached.

        Args:
            given: the names of the settings that the user has set: a number of epochs that is among them stays.

        Reference:
            Mosbach, Andriushchenko and Klakow 2021, https://arxiv.org/abs/2006.04884; Zhang et al. 2021,
            https://arxiv.org/abs/2006.05987 (few rows need more steps)
        """
        settings = self.settings
        steps = max(1, self._count_steps() // settings.accumulate_steps)
        epochs = max(settings.epochs, math.ceil(settings.min_steps / steps))
        if "epochs" in given or epochs == settings.epochs:
            return
        patience = settings.patience
        if "patience" not in given:
            patience = math.ceil(patience * epochs / settings.epochs)
        self.settings = settings.replaced({"epochs": epochs, "patience": patience})
        log(f"Training for {epochs} epochs, of {steps:,} steps each, to reach --min-steps {settings.min_steps}")

    def _count_steps(self) -> int:
        """The steps of an epoch."""
        from tfhub_ft.data.batches import TrainingBatches

        tokens, settings = self.tokens["train"], self.settings
        targets = range(len(tokens))
        sizes = {"batch_size": settings.batch_size, "batch_tokens": settings.batch_tokens}
        return len(TrainingBatches(tokens, targets, seed=settings.seed, **sizes))

    def _warn_of_truncation(self) -> None:
        truncated = {name: tokens.truncated_rows for name, tokens in self.tokens.items()}
        if any(truncated.values()):
            rows = {name: len(split.rows) for name, split in self.data.splits.items()}
            shown = ", ".join(f"{count:,} of {rows[name]:,} {name} rows" for name, count in truncated.items())
            warn(truncation_warning(shown, self.settings.seq_length))

    def _initialize_head(self) -> None:
        from tfhub_ft.models.heads import initialize_head

        activation = self.recipe.task.output_activation
        initialize_head(self.network, self.tokens["train"], self.data.targets["train"], activation, self.settings.seed)

    def _frozen_body(self) -> "FrozenFeatureExtractor | None":
        """The part of the network that is run once a row; None where the encoder trains."""
        from tfhub_ft.models.frozen_features import FrozenFeatureExtractor

        if self.stages or not self.settings.cache_features:
            return None
        return FrozenFeatureExtractor.of(self.network, self.tokens["train"])

    def _check_shapes(self) -> None:
        from tfhub_ft.training.distribution import needs_fixed_shapes

        settings, replicas = self.settings, self.strategy.num_replicas_in_sync
        if needs_fixed_shapes(self.strategy) and (settings.batch_size % replicas or settings.batch_tokens):
            raise InputError(
                f"--strategy tpu: --batch-size must be a multiple of its {replicas} cores, without --batch-tokens"
            )
        wanted, most = settings.seq_length, self.encoder.max_seq_length
        if most and wanted > most:
            raise InputError(f"--seq-length {wanted}: the {settings.pretrained} reads at most {most} tokens")

    def _check_that_something_trains(self) -> None:
        """An encoder without a head has its pooler counted among what trains, whether it is read or not."""
        import numpy as np
        import tensorflow as tf

        trained = self.network.trainable_weights
        if self.stages or not all("pooler" in weight.path for weight in trained):
            return
        with tf.GradientTape() as tape:
            answers = self.network(self.tokens["train"].batch(np.arange(1)), training=False)
        if not any(gradient is not None for gradient in tape.gradient(answers, [w.value for w in trained])):
            asked = f"--freeze {self.settings.freeze}"
            raise InputError(f"{asked}: nothing is left to train, as no head stands on the encoder; freeze less of it")

    def _tokenize(self, split: str) -> "TokenRows":
        task, source, prepared = self.recipe.task, self.data.splits[split], self.data.prepared
        inputs = Mapped(task.training_inputs, source.rows)
        try:
            return (
                prepared.tokens(split, self.preprocessor, inputs)
                if prepared
                else task.encode(self.preprocessor, inputs)
            )
        except RowError as fault:
            raise InputError(f"{source.file}, line {source.rows[fault.row].line}: {fault}") from None

    def create_run(self, folder: Path, recipe_name: str) -> Run:
        """Create the folder of the run, once the tracker has accepted the run.

        Args:
            folder: the folder, new or empty.
            recipe_name: the recipe's name, or the path of its file.

        Raises:
            InputError: the tracker refuses the run.
        """
        tracked = self._begin_tracking(folder, recipe_name)
        described, source = self.data.described(folder), self.recipe.source
        run = Run.create(folder, recipe_name, self.settings, self.data.labels, described, source)
        if tracked:
            write_json(run.path / TRACKED, tracked)
        return run

    def continue_run(self, run: Run) -> None:
        """Let the tracker continue a run that is resumed.

        Raises:
            InputError: the tracker refuses it.
        """
        known = run.tracked.get(self.settings.track)
        if tracked := self._begin_tracking(run.path, run.recipe_name, known):
            write_json(run.path / TRACKED, tracked)

    def _begin_tracking(self, folder: Path, recipe_name: str, known: str | None = None) -> dict[str, str]:
        config = {"recipe": recipe_name, **self.settings.as_dict()}
        return self.tracker.begin(self.recipe.name, folder.resolve().name, config, known)

    def finish(self, run: Run) -> Run:
        """Train, keep the best epoch, score it, and write what a run folder holds."""
        from tfhub_ft.utils.memory import gradients_forgotten

        with gradients_forgotten():
            return self._finish(run)

    def _finish(self, run: Run) -> Run:
        from tfhub_ft.training.callbacks import remove_weights
        from tfhub_ft.utils.devices import sum_over_workers

        self._write_sample(run)
        plugin = load_plugin(self.recipe.task)
        rows = self.data.splits[self._last].rows
        judge = plugin.generation_evaluator(self.model, rows, self.settings) if plugin else None
        untrained = self._untrained(judge) if judge else None
        checkpoints = self._fit(run)
        state, validation = checkpoints.state, checkpoints.best_validation
        if self.settings.lora_rank:
            self.encoder.save_lora_weights(run.path / ADAPTER)
            self.encoder.merge_lora()
            # The merged weights are rounded differently from the updates.
            validation = None
        scores, scored = self._score(state, validation)
        with recorded_warnings() as warnings:
            held_out = {name: scores[name] for name in ("validation", "test") if name in scores}
            for warning in score_warnings(self.recipe.task, held_out, scored.thresholds):
                warn(warning)
        run.add_warnings(warnings)
        if judge:
            scores, scored = _with_written(scores, scored, judge, untrained)
        with atomic_write(run.path / MODEL) as aside:
            self.recipe.task.inference_model(self.model, self.data.labels).save(aside)
        if self.recipe.task.keeps_encoder:
            write_pair(self.encoder, self.preprocessor, run.path)
        write_json(run.path / DECISION, scored.thresholds)
        write_json(run.path / CALIBRATION, scored.calibration)
        self._report(run, state, scores, scored)
        write_json(run.path / METRICS, scores)
        remove_weights(run.path / CHECKPOINTS)
        self.tracker.finish(run)
        # Nobody leaves before the chief has written all.
        sum_over_workers(self.strategy, [0])
        return run

    def training_rows(self) -> "tuple[TokenRows, Any]":
        """The training rows, as tokens or as the features of a frozen encoder, and the targets that the loss takes."""
        tokens = self.tokens["train"]
        targets = self.recipe.task.token_targets(tokens, self.data.targets["train"])
        return self.frozen.features(tokens, self.precision) if self.frozen else tokens, targets

    @property
    def trained(self) -> "keras.Model":
        """The network, or what of it stands behind a frozen encoder."""
        return self.frozen.head if self.frozen else self.network

    def learner(self) -> "TrainStepModel":
        """What is trained as a model of its own, from tokens or features to what the loss takes."""
        from tfhub_ft.training.train_step import TrainStepModel

        return TrainStepModel(self.trained.inputs, self.trained.outputs[0], name="learner")

    def batches(self) -> "TrainingBatches":
        """The batches of training rows."""
        from tfhub_ft.data.batches import TrainingBatches, length_buckets
        from tfhub_ft.training.distribution import needs_fixed_shapes

        settings = self.settings
        tokens, targets = self.training_rows()
        buckets = length_buckets(tokens.lengths, settings.seq_length) if settings.padding == "buckets" else ()
        if needs_fixed_shapes(self.strategy):
            buckets = [settings.seq_length]
        return TrainingBatches(
            tokens,
            targets,
            batch_size=settings.batch_size,
            seed=settings.seed,
            batch_tokens=settings.batch_tokens,
            buckets=buckets,
        )

    def _fit(self, run: Run) -> "Checkpoints":
        """Train to the end, load the best epoch's weights, and return the checkpoints, which know the epochs."""
        from tfhub_ft.training.callbacks import Checkpoints, write_history

        settings, task = self.settings, self.recipe.task
        batches = self.batches()
        self.trained_weights = sum(math.prod(weight.shape) for weight in self.learner().trainable_weights)
        of_weights = f"{self.trained_weights:,} of {self.network.count_params():,} weights"
        narrowed = self.restrict_vocabulary()
        learner = self.compiled(total_steps=len(batches) * settings.epochs)
        if self.strategy.num_replicas_in_sync > 1:
            learner.build_for(batches.some())
        validation = self._validation_scores()
        checkpoints = Checkpoints(
            run.path / CHECKPOINTS, self.trained, validation, metric=task.monitor, patience=settings.patience
        )
        done = checkpoints.restore(learner)
        steps = "1 step" if len(batches) == 1 else f"{len(batches):,} steps"
        log(
            f"Training {of_weights} on {len(batches.tokens):,} {task.example_unit}, {steps} an epoch, in"
            f" {self.precision}{self._said_of_replicas()}" + (f", from epoch {done + 1}" if done else "")
        )
        self._take_epochs(run, learner, validation, checkpoints, batches)
        if where := checkpoints.diverged:
            raise RunError(
                f"{run.path}: the loss is no number in epoch {where['epoch']}, step {where['step']}, at a learning rate"
                f" of {where['learning_rate']:.3g}: --recover goes on from the last good epoch with half of"
                f" --learning-rate {settings.learning_rate:g}"
            )
        checkpoints.load_best()
        if narrowed:
            self._restore_vocabulary(learner, steps=checkpoints.state["best_epoch"] * len(batches))
        write_history(run.path / HISTORY, checkpoints.state["epochs"])
        return checkpoints

    def _validation_scores(self) -> "ValidationScores":
        from tfhub_ft.training.callbacks import ValidationScores

        score = self._score_fn()
        return ValidationScores(score, self.tokens["validation"], self._validated, self.network)

    def _score_fn(self) -> "Callable[[TokenRows], Any]":
        task = self.recipe.task
        return task.make_score_fn(self.model, scoring_precision(task, self.precision))

    def _validated(self, logits: Any) -> "Validated":
        """What the logits of the validation rows say of the model as it is now."""
        from tfhub_ft.evaluation.validation import validate
        from tfhub_ft.models.heads import takes_temperature

        data, calibrated = self.data, takes_temperature(self.network)
        targets = data.targets["validation"]
        return validate(self.recipe.task, logits, targets, data.labels, self.settings, calibrated=calibrated)

    def _said_of_replicas(self) -> str:
        replicas, size = self.strategy.num_replicas_in_sync, self.settings.batch_size
        if replicas == 1:
            return ""
        each = f"at most {self.settings.batch_tokens:,} tokens" if self.settings.batch_tokens else f"{size} rows"
        return f", each batch of {each} shared out among {replicas} replicas"

    def _take_epochs(
        self,
        run: Run,
        learner: "keras.Model",
        validation: "ValidationScores",
        checkpoints: "Checkpoints",
        batches: "TrainingBatches",
    ) -> None:
        """Go through the training rows until the epochs are done, or something ends it before."""
        import keras

        from tfhub_ft.training.callbacks import EpochOrder, Progress
        from tfhub_ft.training.distribution import shared_out
        from tfhub_ft.training.interruptions import Interruptions
        from tfhub_ft.utils.precision import matrix_products_in

        interruptions = Interruptions(checkpoints, len(batches), self.strategy)
        shown = Progress(self.settings.epochs, len(batches), validation, self.recipe.task.epoch_scores)
        callbacks = [
            EpochOrder(batches),
            validation,
            shown,
            checkpoints,
            interruptions,
            keras.callbacks.TensorBoard(run.path / LOGS, write_graph=False),
            self.tracker,
            *self._unfreezing(learner, len(batches)),
        ]
        done = len(checkpoints.state["epochs"])
        # What was left of an epoch, when the training was stopped within it, is shorter than the others.
        parts = [(done, checkpoints.skipped(done)), (done + 1, 0)] if checkpoints.skipped(done) else [(done, 0)]
        with (
            interruptions,
            shown,
            matrix_products_in(self.precision, self.network),
            pooler_left_out(),
        ):
            for begin, skip in parts:
                over = checkpoints.stopped or checkpoints.diverged or interruptions.agreed
                if begin < self.settings.epochs and not over:
                    learner.fit(
                        shared_out(self.strategy, partial(batches.dataset, skip)),
                        initial_epoch=begin,
                        epochs=begin + 1 if skip else self.settings.epochs,
                        callbacks=callbacks,
                        shuffle=False,
                        verbose=0,
                    )

    def _unfreezing(self, learner: "keras.Model", steps: int) -> list["keras.callbacks.Callback"]:
        from tfhub_ft.training.layerwise import Unfreezing

        return [Unfreezing(self.encoder, self.stages, _inner(learner.optimizer), steps)] if self.stages else []

    def restrict_vocabulary(self) -> bool:
        """Leave the words that no row has out of the training: their embeddings have no gradient, only decay."""
        from tfhub_ft.data.batches import words_of

        encoder = self.encoder.backend
        if not self.encoder.is_native or self.stages or self.recipe.task.reads_all_words:
            return False
        if not encoder.word_embeddings.trainable:
            return False
        with self.strategy.scope():
            encoder.restrict_vocabulary(words_of(self.tokens.values(), encoder.word_embeddings.shape[0]))
        return True

    def _restore_vocabulary(self, learner: "keras.Model", steps: int) -> None:
        optimizer = _inner(learner.optimizer)
        # An epoch that was ended early has fewer.
        steps = min(steps, int(optimizer.iterations.numpy()))
        with self.strategy.scope():
            encoder = self.encoder.backend
            encoder.restore_vocabulary(optimizer.left_by_decay(encoder.word_embeddings, steps))

    def compiled(self, total_steps: int) -> "TrainStepModel":
        """The learner with an optimizer; the network itself stays free of one."""
        import keras

        from tfhub_ft.training.optimizer import build_optimizer

        settings = self.settings
        with self.strategy.scope():
            learner = self.learner()
            optimizer = build_optimizer(
                learning_rate=settings.learning_rate,
                warmup=settings.warmup,
                total_steps=-(-total_steps // settings.accumulate_steps),
                weight_decay=settings.weight_decay,
                clip_norm=settings.clip_norm,
                rates=self.rates,
                accumulate_steps=settings.accumulate_steps,
            )
            if self.precision == "float16":
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            learner.compile(
                optimizer,
                **self.recipe.task.compile_arguments(settings, self.data.targets["train"]),
                jit_compile=settings.jit_compile,
                # A step on features takes less time than to ask for it.
                steps_per_execution=FEATURE_STEPS if self.frozen else 1,
            )
            optimizer.build(learner.trainable_variables)
        return learner

    def _score(self, state: dict[str, Any], validation: "Validated | None") -> tuple[dict[str, Any], Scored]:
        """Calibrate the model and score it.

        Args:
            state: what the checkpoints know of the epochs.
            validation: what was found on the validation rows after the best epoch; None where that has to be repeated.

        Returns:
            The scores of each split, and the last split's rows as a report shows them.
        """
        from tfhub_ft.models.heads import apply_temperature

        task, data, name = self.recipe.task, self.data, "validation"
        best = state["epochs"][state["best_epoch"] - 1]
        seen = {k: v for k, v in best.items() if k != "seconds" and not k.startswith("val_")}
        if validation is None:
            log(f"Scoring {len(data.splits[name].rows):,} validation rows")
            validation = self._validated(self._score_fn()(self.tokens[name]))
        logits, calibration, decision = validation.logits, validation.calibration, validation.decision
        rows = data.splits["train"].rows
        label_rows = dict(count_labels(task, rows).most_common())
        labeled = {"label_rows": label_rows} if label_rows else {}
        train = {"rows": len(rows), **labeled, "trained_weights": self.trained_weights, **seen}
        scores = {"train": train, name: held_out_scores(task, logits, data.targets[name], data.labels, decision, train)}
        if calibration:
            apply_temperature(self.network, calibration["temperature"])
        if self._last == "test":
            name = "test"
            log(f"Scoring {len(data.splits[name].rows):,} test rows")
            logits = self._score_fn()(self.tokens[name])
            scores[name] = held_out_scores(task, logits, data.targets[name], data.labels, decision, train)
        rows, targets = data.splits[name].rows, data.targets[name]
        return scores, Scored(task, rows, logits, targets, data.labels, decision, calibration, scores[name])

    @property
    def _last(self) -> str:
        """The split that a report is of: the test rows, or without them those of validation."""
        return list(self.data.splits)[-1]

    def _untrained(self, judge: Any) -> tuple[dict[str, Any], list[str]]:
        """The scores of the model as it is before it trains, and what it answers."""
        task, data, name = self.recipe.task, self.data, self._last
        log(f"Scoring the model before it trains, on {len(data.splits[name].rows):,} {name} rows")
        logits = self._score_fn()(self.tokens[name])
        scores, answers = judge()
        return {**task.metrics(logits, data.targets[name], data.labels, {}), **scores}, answers

    def _report(self, run: Run, state: dict[str, Any], scores: dict[str, Any], scored: Scored) -> None:
        from tfhub_ft.evaluation.report import html_report
        from tfhub_ft.utils.memory import peak_memory

        weights = (self.network.count_params(), self.trained_weights)
        tokens = self.tokens["train"]
        training = html_report.Training(
            epochs=state["epochs"],
            kept_epoch=state["best_epoch"],
            lengths=tokens.lengths,
            truncated=tokens.truncated_rows,
            unit=self.recipe.task.example_unit,
            weights=weights,
            peak_memory=peak_memory(),
        )
        html_report.write_report(
            run.path / REPORT,
            run,
            scored,
            of=f"{self._last} rows",
            scores=scores,
            warnings=run.warnings,
            training=training,
        )

    def _write_sample(self, run: Run) -> None:
        rows = self.data.splits["validation"].rows
        chosen = random.Random(self.settings.seed).sample(rows, min(SAMPLE_ROWS, len(rows)))
        lines = [json.dumps(self.recipe.task.prediction_inputs(row), ensure_ascii=False) for row in chosen]
        write_text(run.path / SAMPLE, "\n".join(lines) + "\n")
        KeptRows.drawn_from(self.data.splits, self.settings.seed).write(run.path / KEPT_ROWS)


def _with_written(
    scores: dict[str, Any], scored: Scored, judge: Any, untrained: tuple[dict[str, Any], list[str]]
) -> tuple[dict[str, Any], Scored]:
    """The scores, and what a report shows, with what a model writes before and behind its training."""
    before, first_answers = untrained
    own, answers = judge()
    train, *others = scores.items()
    *others, (name, last) = others
    scores = {**dict([train]), "untrained": before, **dict(others), name: {**last, **own}}
    return scores, replace(scored, scores=scores[name], written=judge.beside(before=first_answers, trained=answers))


def _inner(optimizer: "keras.optimizers.Optimizer") -> "keras.optimizers.Optimizer":
    """The optimizer that moves the weights, which may stand in one that scales losses."""
    return getattr(optimizer, "inner_optimizer", optimizer)
