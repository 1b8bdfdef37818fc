"""The training loop: batches, the compiled step, callbacks and checkpoints."""

import contextlib
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING

from tfhub_ft.data.batches import TokenRows, TrainingBatches, length_buckets, used_token_ids
from tfhub_ft.data.datasets import Dataset
from tfhub_ft.data.windows import WindowRows
from tfhub_ft.evaluation.scored import scoring_precision
from tfhub_ft.evaluation.validation import Validated, validate
from tfhub_ft.recipe import Recipe
from tfhub_ft.run import ADAPTER, CHECKPOINTS, HISTORY, LOGS, Run
from tfhub_ft.settings import TrainingSettings
from tfhub_ft.tasks.base import monitor_of
from tfhub_ft.training.continuation import RunWeights
from tfhub_ft.training.distribution import distribute_batches, needs_fixed_shapes, start_strategy
from tfhub_ft.training.keras_arguments import KerasArguments
from tfhub_ft.training.pretrained import FineTunedModel, build_model, initialize
from tfhub_ft.training.tokens import long_text_advice, reach_min_steps, tokenize_splits
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import RunError
from tfhub_ft.utils.precision import matrix_products_in, resolve_precision

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from tfhub_ft.models.frozen_features import FrozenFeatureExtractor
    from tfhub_ft.training.callbacks import Checkpoints
    from tfhub_ft.training.optimizer import FusedAdamW
    from tfhub_ft.training.tracking import Tracker
    from tfhub_ft.training.train_step import TrainStepModel

FEATURE_STEPS = 16


@contextlib.contextmanager
def ignore_unused_pooler() -> Iterator[None]:
    """Suppress Keras' warning about a pooler without gradients, which no head reads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Gradients do not exist for variables \[('\S*pooler\S*'(, )?)+\]")
        yield


class Trainer:
    """Train a recipe's model, which was built in the scope of `strategy`, on tokens.

    With `is_repeat`, Ctrl-C saves the run instead of finishing it early.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: TrainingSettings,
        dataset: Dataset,
        built: FineTunedModel,
        tokens: Mapping[str, TokenRows],
        strategy: "tf.distribute.Strategy",
        keras_arguments: KerasArguments = KerasArguments(),  # noqa: B008  immutable
        *,
        is_repeat: bool = False,
    ):
        self.recipe, self.settings, self.dataset = recipe, settings, dataset
        self.built, self.tokens, self.strategy = built, tokens, strategy
        self.keras_arguments, self.is_repeat = keras_arguments, is_repeat
        self.precision = resolve_precision(settings.precision)

    @property
    def network(self) -> "keras.Model":
        """The part of the model that takes tokens."""
        return self.built.network

    @cached_property
    def frozen(self) -> "FrozenFeatureExtractor | None":
        """The part of the network that is computed once per row; None where the encoder trains."""
        from tfhub_ft.models.frozen_features import FrozenFeatureExtractor

        if self.built.stages or not self.settings.cache_features:
            return None
        return FrozenFeatureExtractor.of(self.network, self.tokens["train"])

    @property
    def monitor(self) -> str:
        """The validation score that selects the best epoch."""
        return monitor_of(self.recipe.task, self.settings.monitor)

    @property
    def trained(self) -> "keras.Model":
        """The network, or its head where the encoder is frozen."""
        return self.frozen.head if self.frozen else self.network

    @cached_property
    def trained_weights(self) -> int:
        """The number of trainable weights."""
        return sum(math.prod(weight.shape) for weight in self.step_model().trainable_weights)

    def fit(self, run: Run, tracker: "Tracker") -> "Checkpoints":
        """Train, from the run's last checkpoint if there is one, and load the weights of the best epoch."""
        from tfhub_ft.training.callbacks import Checkpoints, ValidationScores, keep_start, write_history

        settings, task = self.settings, self.recipe.task
        if settings.from_run:
            keep_start(run.path / CHECKPOINTS, self.network)
        batches = self.batches()
        weights = f"{self.trained_weights:,} of {self.network.count_params():,} weights"
        # A callback may read all weights, and another optimizer may change those without gradients.
        restricted = not self.keras_arguments and self.restrict_vocabulary()
        step_model = self.compiled(total_steps=len(batches) * settings.epochs)
        self.keras_arguments.record(run, step_model.optimizer)
        if self.strategy.num_replicas_in_sync > 1:
            step_model.build_for(batches.some())
        validation = ValidationScores(self.score_fn(), self.tokens["validation"], self.validated, self.network)
        checkpoints = Checkpoints(
            run.path / CHECKPOINTS, self.trained, validation, metric=self.monitor, patience=settings.patience
        )
        done = checkpoints.restore(step_model)
        steps = "1 step" if len(batches) == 1 else f"{len(batches):,} steps"
        log(
            f"Training {weights} on {len(batches.tokens):,} {task.example_unit}, {steps} per epoch, in"
            f" {self.precision}{self._format_replicas()}" + (f", from epoch {done + 1}" if done else "")
        )
        self._fit_epochs(run, tracker, step_model, checkpoints, batches)
        if where := checkpoints.diverged:
            raise RunError(
                f"{run.path}: the loss became NaN in epoch {where['epoch']}, step {where['step']}, at a learning rate"
                f" of {where['learning_rate']:.3g}; continue with --recover, from the last good epoch at half of"
                f" --learning-rate {settings.learning_rate:g}"
            )
        checkpoints.load_best()
        if restricted:
            self._restore_vocabulary(step_model, steps=checkpoints.state["best_epoch"] * len(batches))
        write_history(run.path / HISTORY, checkpoints.state["epochs"])
        if settings.lora_rank:
            self.built.layer.save_lora_weights(run.path / ADAPTER)
            self.built.layer.merge_lora()
            # Merging rounds the weights, which changes the scores.
            checkpoints.best_validation = None
        return checkpoints

    def _fit_epochs(
        self,
        run: Run,
        tracker: "Tracker",
        step_model: "TrainStepModel",
        checkpoints: "Checkpoints",
        batches: TrainingBatches,
    ) -> None:
        """Train until all epochs are done or a callback stops the run."""
        import keras

        from tfhub_ft.training.callbacks import EpochOrder, Progress, StopRecorder
        from tfhub_ft.training.interruptions import Interruptions
        from tfhub_ft.training.layerwise import Unfreezing

        settings, built, validation = self.settings, self.built, checkpoints.validation
        interruptions = Interruptions(
            checkpoints, len(batches), self.strategy, finishes_on_interrupt=not self.is_repeat
        )
        shown = list(dict.fromkeys((*self.recipe.task.epoch_scores, self.monitor)))
        progress = Progress(settings.epochs, len(batches), validation, shown)
        callbacks = [EpochOrder(batches), validation, progress, checkpoints]
        callbacks += [*self.keras_arguments.callbacks, StopRecorder(checkpoints), interruptions]
        callbacks += [keras.callbacks.TensorBoard(str(run.path / LOGS), write_graph=False), tracker]
        if built.stages:
            callbacks.append(Unfreezing(built.layer, built.stages, _adamw(step_model), len(batches)))
        done = len(checkpoints.state["epochs"])
        # A run that was stopped within an epoch continues with the rest of its steps.
        parts = [(done, checkpoints.skipped(done)), (done + 1, 0)] if checkpoints.skipped(done) else [(done, 0)]
        with interruptions, progress, matrix_products_in(self.precision, self.network), ignore_unused_pooler():
            for begin, skip in parts:
                is_over = checkpoints.stopped or checkpoints.diverged or interruptions.agreed
                if begin < settings.epochs and not is_over:
                    step_model.fit(
                        distribute_batches(self.strategy, partial(batches.dataset, skip)),
                        initial_epoch=begin,
                        epochs=begin + 1 if skip else settings.epochs,
                        callbacks=callbacks,
                        shuffle=False,
                        verbose=0,  # pyright: ignore[reportArgumentType]
                    )

    def training_rows(self) -> "tuple[TokenRows, np.ndarray | dict[str, np.ndarray]]":
        """Return the training rows, as tokens or as features of a frozen encoder, and the targets of the loss."""
        tokens = self.tokens["train"]
        targets = self.recipe.task.token_targets(tokens, self.dataset.targets["train"])
        return self.frozen.features(tokens, self.precision) if self.frozen else tokens, targets

    def training_weights(self) -> "np.ndarray | None":
        """Return the weights of the training rows, or of their windows, in the loss; None for equal weights."""
        weights, tokens = self.dataset.weights, self.tokens["train"]
        return weights[tokens.row] if weights is not None and isinstance(tokens, WindowRows) else weights

    def batches(self) -> TrainingBatches:
        """Return the batches of training rows."""
        settings = self.settings
        tokens, targets = self.training_rows()
        buckets = length_buckets(tokens.padded_lengths, settings.seq_length) if settings.padding == "buckets" else ()
        if needs_fixed_shapes(self.strategy):
            buckets = [settings.seq_length]
        return TrainingBatches(
            tokens,
            targets,
            weights=self.training_weights(),
            batch_size=settings.batch_size,
            seed=settings.seed,
            batch_tokens=settings.batch_tokens,
            buckets=buckets,
        )

    def step_model(self) -> "TrainStepModel":
        """Return the trained part of the network as a model with a training step."""
        from tfhub_ft.training.train_step import TrainStepModel

        return TrainStepModel(self.trained.inputs, self.trained.outputs[0], name="learner")

    def compiled(self, total_steps: int) -> "TrainStepModel":
        """Return the compiled step model; the network itself is not compiled."""
        import keras

        from tfhub_ft.training.optimizer import build_optimizer

        settings = self.settings
        with self.strategy.scope():
            step_model = self.step_model()
            optimizer_steps = -(-total_steps // settings.accumulate_steps)
            optimizer = self.keras_arguments.new_optimizer(optimizer_steps, self.strategy.num_replicas_in_sync)
            optimizer = optimizer or build_optimizer(
                learning_rate=settings.learning_rate,
                warmup=settings.warmup,
                total_steps=optimizer_steps,
                weight_decay=settings.weight_decay,
                clip_norm=settings.clip_norm,
                rates=self.built.rates,
                accumulate_steps=settings.accumulate_steps,
            )
            if self.precision == "float16" and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            compile_arguments = self.recipe.compile_arguments(
                settings, self.dataset.targets["train"], self.dataset.labels
            )
            compile_arguments["metrics"] = [*compile_arguments["metrics"], *self.keras_arguments.new_metrics()]
            step_model.compile(
                optimizer,
                **compile_arguments,
                jit_compile=settings.jit_compile,  # pyright: ignore[reportArgumentType]
                # A step on features takes less time than its call from Python; several replicas need equal steps.
                steps_per_execution=FEATURE_STEPS if self.frozen and self.strategy.num_replicas_in_sync == 1 else 1,
            )
            optimizer.build(step_model.trainable_variables)
        return step_model

    def restrict_vocabulary(self) -> bool:
        """Train only the embeddings of tokens in the rows, as all others only decay; return whether it can."""
        layer = self.built.layer
        if self.recipe.task.reads_all_words or self.built.stages or not layer.is_native:
            return False
        embeddings = layer.backend.word_embeddings
        if not embeddings.trainable:
            return False
        with self.strategy.scope():
            layer.backend.restrict_vocabulary(used_token_ids(self.tokens.values(), embeddings.shape[0]))
        return True

    def _restore_vocabulary(self, step_model: "TrainStepModel", steps: int) -> None:
        import tensorflow as tf

        optimizer = _adamw(step_model)
        # An epoch that was ended early has fewer steps.
        steps = min(steps, int(tf.convert_to_tensor(optimizer.iterations)))
        with self.strategy.scope():
            backend = self.built.layer.backend
            backend.restore_vocabulary(optimizer.decay_factor(backend.word_embeddings, steps))

    def score_fn(self) -> Callable[[TokenRows], object]:
        """Return a function from tokens to what the task's `metrics` takes."""
        task = self.recipe.task
        return task.make_score_fn(self.built.model, scoring_precision(task, self.precision))

    def validated(self, logits: object) -> Validated:
        """Return the scores of the validation rows for the current weights."""
        from tfhub_ft.models.heads import takes_temperature

        targets, labels = self.dataset.targets["validation"], self.dataset.labels
        calibrated = takes_temperature(self.network)
        return validate(self.recipe.task, logits, targets, labels, self.settings, calibrated=calibrated)

    def _format_replicas(self) -> str:
        replicas, size = self.strategy.num_replicas_in_sync, self.settings.batch_size
        if replicas == 1:
            return ""
        batch = f"at most {self.settings.batch_tokens:,} tokens" if self.settings.batch_tokens else f"{size} rows"
        return f", each batch of {batch} divided among {replicas} replicas"


def make_trainer(recipe: Recipe, settings: TrainingSettings, dataset: Dataset, given: Collection[str]) -> Trainer:
    """Return a trainer for rows and settings: the first steps of `train`."""
    strategy = start_strategy(settings)
    built = build_model(recipe, settings, dataset.labels, strategy, RunWeights.load(settings))
    tokens = tokenize_splits(recipe.task, dataset, built.preprocessor, advice=long_text_advice(settings))
    initialize(recipe.task, built, tokens["train"], dataset.targets["train"], settings)
    settings = reach_min_steps(settings, tokens["train"], given)
    return Trainer(recipe, settings, dataset, built, tokens, strategy)


def _adamw(step_model: "TrainStepModel") -> "FusedAdamW":
    """Return the optimizer of a model, which one that scales losses may wrap."""
    return getattr(step_model.optimizer, "inner_optimizer", step_model.optimizer)
