"""Training a recipe: from settings to a finished run folder."""

import json
import math
import random
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.console import say
from tfhub_ft.data.datasets import Dataset, load_dataset
from tfhub_ft.data.sequences import Mapped
from tfhub_ft.errors import InputError, WorkError
from tfhub_ft.files import write_json, write_text, written_aside
from tfhub_ft.recipe import Recipe, load_recipe
from tfhub_ft.run import (
    ADAPTER,
    CALIBRATION,
    CHECKPOINTS,
    DECISION,
    DISTILLATION,
    HISTORY,
    METRICS,
    MODEL,
    REPORT,
    SAMPLE,
    Run,
)
from tfhub_ft.settings import Settings, option_name

if TYPE_CHECKING:
    import keras

    from tfhub_ft.data.batches import TokenRows, TrainingBatches
    from tfhub_ft.evaluation.report import Scored
    from tfhub_ft.training.callbacks import Checkpoints
    from tfhub_ft.training.features import FrozenBody

SAMPLE_ROWS = 200
FEATURE_STEPS = 16
# What Keras says of a pooler that no head stands on.
POOLER_IS_NOT_USED = r"Gradients do not exist for variables \[('\S*pooler\S*'(, )?)+\]"


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
        settings: any field of the recipe's settings: train, epochs, encoder ... They go before the file's.

    Returns:
        The finished run.

    Raises:
        InputError: a setting, a file or a row is not as it must be. Nothing was started.
        WorkError: the training failed.
        Preempted: SIGTERM stopped it; `resume` goes on with it.

    Example:
        run = tfhub_ft.train("sentiment", data="reviews.csv", output_dir="runs/reviews", epochs=2)
        run.metrics["test"]["accuracy"]
    """
    name, recipe = str(recipe), load_recipe(str(recipe))
    if resume or recover:
        return _resume(recipe, output_dir, _given(recipe, config, settings), recover)
    resolved = resolved_settings(recipe, config, settings)
    folder = new_folder(Path(output_dir) if output_dir else _next_folder(recipe.name))
    data = load_dataset(recipe.task, resolved, recipe.demo)
    training = Training(recipe, resolved, data)
    new_folder(folder)
    run = Run.create(folder, name, resolved, data.labels, data.described())
    with run.locked():
        return training.finish(run)


def resolved_settings(recipe: Recipe, config: str | Path | None, settings: Mapping[str, Any]) -> Settings:
    """A recipe's settings with those of a YAML file, and before these those that were given.

    Raises:
        InputError: the file or a value is not as it must be.
    """
    return recipe.settings.replaced(_given(recipe, config, settings), source=str(config) if config else "")


def _given(recipe: Recipe, config: str | Path | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {**(_read_config(Path(config), recipe) if config else {}), **settings}


def _read_config(path: Path, recipe: Recipe) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"--config {path}: must hold a setting a line, such as `epochs: 3`")
    if Path(values.pop("recipe", recipe.name)).stem != recipe.name:
        raise InputError(f"--config {path} belongs to another recipe than {recipe.name}")
    values.pop("tfhub_ft", None)
    return values


def new_folder(folder: Path) -> Path:
    """The folder, if a run can be made there.

    Raises:
        InputError: it is taken.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output-dir {folder} is a file")
    if (folder / "recipe.yaml").exists():
        raise InputError(f"--output-dir {folder} already holds a run: name another folder, or go on with --resume")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--output-dir {folder} is not empty: name another folder")
    return folder


def _next_folder(name: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder


def _resume(recipe: Recipe, output_dir: str | Path | None, given: Mapping[str, Any], recover: bool) -> Run:
    if not output_dir:
        raise InputError(f"--{'recover' if recover else 'resume'} needs --output-dir, the run to go on with")
    run = Run(output_dir)
    with run.locked():
        return _gone_on(run, recipe, given, recover)


def _gone_on(run: Run, recipe: Recipe, given: Mapping[str, Any], recover: bool) -> Run:
    if run.recipe.name != recipe.name:
        raise InputError(f"{run.path} is a run of the recipe {run.recipe.name}, not {recipe.name}")
    for name, value in run.settings.replaced(given).as_dict().items():
        if value != getattr(run.settings, name):
            raise InputError(
                f"{option_name(name)} {value}: the run in {run.path} was started with {getattr(run.settings, name)},"
                " and goes on with that; leave the option out"
            )
    if run.finished:
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
    data = load_dataset(recipe.task, run.settings, recipe.demo)
    if not data.is_of(run.splits):
        raise InputError(f"{run.path} was started on other rows: the files have changed since")
    if recover:
        run = run.with_settings(run.settings.replaced({"learning_rate": run.settings.learning_rate / 2}))
        say(f"Going on with half the learning rate, {run.settings.learning_rate:g}")
    return Training(recipe, run.settings, data).finish(run)


class Training:
    """One training in progress: the model, its rows as tokens, and what is done with them.

    Args:
        recipe: makes the model.
        settings: of the training.
        data: the rows.

    Raises:
        InputError: the encoder cannot be had or does not fit the settings.
    """

    def __init__(self, recipe: Recipe, settings: Settings, data: Dataset):
        import keras

        from tfhub_ft.training.hardware import build_strategy, keep_freed_memory, resolve_precision
        from tfhub_ft.training.tracking import tracker_of

        self.recipe, self.settings, self.data = recipe, settings, data
        self.tracker = tracker_of(settings.track)
        keep_freed_memory()
        keras.utils.set_random_seed(settings.seed)
        say(f"Loading encoder {self.settings.encoder}")
        self.strategy = build_strategy(self.settings.strategy)
        with self.strategy.scope():
            self.model = self.recipe.build(self.settings, self.data.labels)
            self.network = self.model.get_layer("token_model")
            self._prepare_encoder()
        self.recipe.task.initialize(self.network, self.data.targets["train"])
        self.preprocessor = self.model.get_layer("preprocessor")
        self._check_seq_length()
        say(f"Tokenizing {sum(len(s.rows) for s in self.data.splits.values()):,} rows")
        self.tokens = {name: self._tokenize(name) for name in self.data.splits}
        self.precision = resolve_precision(settings.precision)
        self.frozen = self._frozen_body()

    def _prepare_encoder(self) -> None:
        """Do to the encoder what the settings ask for before it trains."""
        from tfhub_ft.encoders.encoder_layer import encoder_of
        from tfhub_ft.training.layerwise import layer_rates, unfreezing_stages

        settings, encoder = self.settings, encoder_of(self.network)
        for option in ("recompute", "jit_compile"):
            if getattr(settings, option) and not encoder.is_native:
                raise InputError(f"{option_name(option)}: {encoder.encoder} is computed by its graph, as it was saved")
        encoder.recompute = settings.recompute
        if settings.reinit_layers is not None:
            encoder.reinitialize(settings.reinit_layers)
        if settings.lora_rank:
            targets = [target.strip() for target in settings.lora_targets.split(",")]
            encoder.enable_lora(settings.lora_rank, alpha=settings.lora_alpha, targets=targets)
        self.encoder, self.rates = encoder, layer_rates(encoder, settings.layer_decay)
        self.stages = unfreezing_stages(settings.unfreeze, encoder.names) if settings.unfreeze else []

    def _frozen_body(self) -> "FrozenBody | None":
        """The part of the network that is run once a row; None where the encoder trains."""
        from tfhub_ft.training.features import FrozenBody

        if self.stages or not self.settings.cache_features:
            return None
        return FrozenBody.of(self.network, self.tokens["train"])

    def _read_by_learner(self, split: str) -> "TokenRows":
        """The rows of a split as the learner reads them: their tokens, or the features of a frozen encoder."""
        return self.frozen.features(self.tokens[split], self.precision) if self.frozen else self.tokens[split]

    def _check_seq_length(self) -> None:
        wanted, most = self.settings.seq_length, self.encoder.max_seq_length
        if most and wanted > most:
            raise InputError(f"--seq-length {wanted}: the encoder {self.encoder.encoder} reads at most {most} tokens")

    def _tokenize(self, split: str) -> "TokenRows":
        task = self.recipe.task
        return task.encode(self.preprocessor, Mapped(task.inputs, self.data.splits[split].rows))

    def finish(self, run: Run) -> Run:
        """Train, keep the best epoch, score it, and write what a run folder holds."""
        self._write_sample(run)
        state = self._fit(run)
        scores, scored = self._score(state)
        if self.settings.lora_rank:
            self.encoder.save_lora_weights(run.path / ADAPTER)
            self.encoder.merge_lora()
        with written_aside(run.path / MODEL) as aside:
            self.recipe.task.answering_model(self.model, self.data.labels).save(aside)
        self.recipe.task.keep(run, self.model)
        write_json(run.path / DECISION, scored.decision)
        write_json(run.path / CALIBRATION, scored.calibration)
        self._report(run, state, scores, scored)
        write_json(run.path / METRICS, scores)
        for last in (run.path / CHECKPOINTS).glob("last-*"):
            last.unlink()
        self.tracker.finish(run)
        return run

    def training_rows(self) -> "tuple[TokenRows, Any]":
        """The rows that are learnt from, and their targets as the learner takes them."""
        return self._read_by_learner("train"), self._token_targets("train")

    @property
    def trained(self) -> "keras.Model":
        """The network, or what of it stands behind a frozen encoder."""
        return self.frozen.tail if self.frozen else self.network

    def learner(self) -> "keras.Model":
        """What is trained as a model of its own, from tokens or features to what the loss takes."""
        import keras

        return keras.Model(self.trained.inputs, self.trained.outputs[0], name="learner")

    def batches(self) -> "tuple[TrainingBatches, Sequence[int]]":
        """The batches of training rows, and the lengths that batches are padded to, where these are fixed."""
        from tfhub_ft.data.batches import TrainingBatches, length_buckets

        settings = self.settings
        tokens, targets = self.training_rows()
        buckets = length_buckets(tokens.lengths, settings.seq_length) if settings.padding == "buckets" else ()
        batches = TrainingBatches(
            tokens,
            targets,
            batch_size=settings.batch_size,
            seed=settings.seed,
            batch_tokens=settings.batch_tokens,
            buckets=buckets,
        )
        return batches, buckets

    def _token_targets(self, split: str) -> Any:
        return self.recipe.task.token_targets(self.tokens[split], self.data.targets[split])

    def _fit(self, run: Run) -> dict[str, Any]:
        """Train to the end, load the best epoch's weights, and return what the checkpoints know of the epochs."""
        from tfhub_ft.data.batches import evaluation_dataset
        from tfhub_ft.training.callbacks import Checkpoints, write_history

        settings, task = self.settings, self.recipe.task
        batches, buckets = self.batches()
        validation = evaluation_dataset(
            self._read_by_learner("validation"), self._token_targets("validation"), 2 * settings.batch_size, buckets
        )
        self.trained_weights = sum(math.prod(weight.shape) for weight in self.learner().trainable_weights)
        of_weights = f"{self.trained_weights:,} of {self.network.count_params():,} weights"
        narrowed = self.narrow_words()
        learner = self.compiled(total_steps=len(batches) * settings.epochs)
        checkpoints = Checkpoints(run.path / CHECKPOINTS, self.trained, metric=task.best, patience=settings.patience)
        done = checkpoints.restore(learner)
        say(
            f"Training {of_weights} on {len(batches.tokens):,} {task.unit}, {len(batches):,} steps an epoch, in"
            f" {self.precision}" + (f", from epoch {done + 1}" if done else "")
        )
        self._take_epochs(run, learner, checkpoints, batches, validation)
        if where := checkpoints.diverged:
            raise WorkError(
                f"{run.path}: the loss is no number in epoch {where['epoch']}, step {where['step']}, at a learning rate"
                f" of {where['learning_rate']:.3g}: --recover goes on from the last good epoch with half of"
                f" --learning-rate {settings.learning_rate:g}"
            )
        checkpoints.load_best()
        if narrowed:
            self._widen_words(learner, steps=checkpoints.state["best_epoch"] * len(batches))
        write_history(run.path / HISTORY, checkpoints.state["epochs"])
        return checkpoints.state

    def _take_epochs(
        self, run: Run, learner: "keras.Model", checkpoints: "Checkpoints", batches: "TrainingBatches", validation: Any
    ) -> None:
        """Go through the training rows until the epochs are done, or something ends it before."""
        import keras

        from tfhub_ft.training.callbacks import EpochOrder, Progress
        from tfhub_ft.training.hardware import matrix_products_in
        from tfhub_ft.training.interruptions import Interruptions

        interruptions = Interruptions(checkpoints, len(batches))
        shown = Progress(self.settings.epochs, len(batches))
        callbacks = [
            EpochOrder(batches),
            shown,
            checkpoints,
            interruptions,
            keras.callbacks.TensorBoard(run.path / "logs", write_graph=False),
            self.tracker.begin(run),
            *self._unfreezing(learner, len(batches)),
        ]
        done = len(checkpoints.state["epochs"])
        # What was left of an epoch, when the training was stopped within it, is shorter than the others.
        parts = [(done, checkpoints.skipped(done)), (done + 1, 0)] if checkpoints.skipped(done) else [(done, 0)]
        with (
            interruptions,
            shown,
            matrix_products_in(self.precision, self.network),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message=POOLER_IS_NOT_USED)
            for begin, skip in parts:
                over = checkpoints.stopped or checkpoints.diverged or interruptions.received
                if begin < self.settings.epochs and not over:
                    learner.fit(
                        batches.dataset(skip),
                        validation_data=validation,
                        initial_epoch=begin,
                        epochs=begin + 1 if skip else self.settings.epochs,
                        callbacks=callbacks,
                        shuffle=False,
                        verbose=0,
                    )

    def _unfreezing(self, learner: "keras.Model", steps: int) -> list["keras.callbacks.Callback"]:
        from tfhub_ft.training.layerwise import Unfreezing

        return [Unfreezing(self.encoder, self.stages, _inner(learner.optimizer), steps)] if self.stages else []

    def narrow_words(self) -> bool:
        """Leave the words that no row has out of the training: their embeddings have no gradient, only decay."""
        from tfhub_ft.data.batches import words_of

        encoder = self.encoder
        if not encoder.is_native or self.stages or self.recipe.task.reads_all_words:
            return False
        if not encoder.word_embeddings.trainable:
            return False
        with self.strategy.scope():
            encoder.narrow_words(words_of(self.tokens.values(), encoder.word_embeddings.shape[0]))
        return True

    def _widen_words(self, learner: "keras.Model", steps: int) -> None:
        import keras

        optimizer = _inner(learner.optimizer)
        # An epoch that was ended early has fewer.
        steps = min(steps, int(keras.ops.convert_to_numpy(optimizer.iterations)))
        with self.strategy.scope():
            self.encoder.widen_words(optimizer.left_by_decay(self.encoder.word_embeddings, steps))

    def compiled(self, total_steps: int) -> "keras.Model":
        """The learner with an optimizer; the network itself stays free of one."""
        import keras

        from tfhub_ft.training.optimizer import build_optimizer

        settings = self.settings
        with self.strategy.scope():
            learner = self.learner()
            optimizer = build_optimizer(
                learning_rate=settings.learning_rate,
                warmup=settings.warmup,
                total_steps=total_steps,
                weight_decay=settings.weight_decay,
                clip_norm=settings.clip_norm,
                rates=self.rates,
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

    def _score(self, state: dict[str, Any]) -> "tuple[dict[str, Any], Scored]":
        """The scores of each split, and the last split's rows as a report shows them.

        Temperature and thresholds are chosen on the validation rows, which come first.
        """
        from tfhub_ft.evaluation.report import Scored

        task, data = self.recipe.task, self.data
        best = state["epochs"][state["best_epoch"] - 1]
        seen = {k: v for k, v in best.items() if k != "seconds" and not k.startswith("val_")}
        scores = {"train": {"rows": len(data.splits["train"].rows), "trained_weights": self.trained_weights, **seen}}
        for split in list(self.data.splits)[1:]:
            say(f"Scoring {len(data.splits[split].rows):,} {split} rows")
            logits = task.row_logits(self.model, self.tokens[split])
            targets = data.targets[split]
            if split == "validation":
                calibration = self._calibrate(logits, targets)
                logits = logits / calibration["temperature"] if calibration else logits
                decision = task.decide(logits, targets, data.labels, self.settings)
            scores[split] = task.metrics(logits, targets, data.labels, decision)
        rows = data.splits[split].rows
        return scores, Scored(task, rows, logits, targets, data.labels, decision, calibration, scores[split])

    def _calibrate(self, logits: Any, targets: Any) -> dict[str, Any]:
        from tfhub_ft.evaluation.calibration import calibrate

        link = self.recipe.task.link
        return (link and calibrate(self.network, logits, targets, link=link)) or {}

    def _report(self, run: Run, state: dict[str, Any], scores: dict[str, Any], scored: "Scored") -> None:
        from tfhub_ft.evaluation import report
        from tfhub_ft.memory import peak_memory

        weights = (self.network.count_params(), self.trained_weights)
        training = report.Training(state["epochs"], self.tokens["train"].lengths, weights, peak_memory())
        of = f"{list(self.data.splits)[-1]} rows"
        report.write_report(run.path / REPORT, run, scored, of=of, scores=scores, training=training)

    def _write_sample(self, run: Run) -> None:
        rows = self.data.splits["validation"].rows
        chosen = random.Random(self.settings.seed).sample(rows, min(SAMPLE_ROWS, len(rows)))
        lines = [json.dumps(self.recipe.task.asked(row), ensure_ascii=False) for row in chosen]
        write_text(run.path / SAMPLE, "\n".join(lines) + "\n")


def _inner(optimizer: "keras.optimizers.Optimizer") -> "keras.optimizers.Optimizer":
    """The optimizer that moves the weights, which may stand in one that scales losses."""
    return getattr(optimizer, "inner_optimizer", optimizer)
