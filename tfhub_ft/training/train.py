"""Train a recipe: from settings to a finished run folder."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.run import Run
from tfhub_ft.training.distribution import check_same_rows, check_strategy, is_chief, start_strategy
from tfhub_ft.training.keras_arguments import KerasArguments
from tfhub_ft.training.pretrained import build_model, initialize
from tfhub_ft.training.repeats import Repeat, check_repeats, is_unfinished, train_repeats
from tfhub_ft.training.start import open_run, start_training
from tfhub_ft.training.tokens import long_text_advice, reach_min_steps, tokenize_splits
from tfhub_ft.utils.arguments import check_path, check_type
from tfhub_ft.utils.console import recorded_warnings
from tfhub_ft.utils.devices import workers_of
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.memory import release_gradients

if TYPE_CHECKING:
    import keras

    from tfhub_ft.training.keras_arguments import OptimizerArgument


def train(
    recipe: str | Path,
    *,
    output_dir: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    recover: bool = False,
    folds: int | None = None,
    seeds: int | None = None,
    callbacks: "Sequence[keras.callbacks.Callback] | None" = None,
    metrics: "Sequence[keras.metrics.Metric | str] | None" = None,
    optimizer: "OptimizerArgument | None" = None,
    **settings: Any,
) -> Run:
    """Fine-tune an encoder with a recipe, evaluate it and write a run folder. What `tfhub-ft train` does.

    Args:
        recipe: The name of a recipe, or the path of a recipe file.
        output_dir: The run folder, which must be new or empty. By default `runs/NAME-N`.
        config: A YAML file of settings; keyword arguments override it.
        resume: Continue the training in `output_dir` from its last checkpoint.
        recover: Like `resume`, after a NaN loss: continue from the last good epoch at half the learning rate.
        folds: Number of folds of a cross-validation of `data`: each fold is the test rows of one run, and 15% of the
            other rows are its validation rows. The run with the median score is kept; `Run.repeats` has the scores of
            all. Folds share training rows, so the interval of their mean is too narrow.
        seeds: Number of runs with the seeds `seed`, `seed + 1` and so on, on the same splits. The run with the median
            score is kept, as for `folds`.
        callbacks: Callbacks of Keras, which run as in `fit`. The logs of an epoch contain the validation scores, as
            `val_accuracy`.
        metrics: Metrics of Keras, or their names, which are shown during training beside those of the recipe. They
            take the targets of the loss and the logits.
        optimizer: An optimizer of Keras in place of AdamW with warmup and decay, or a function that returns one for the
            total number of its steps. With several replicas it must be a function.
        **settings: Any field of the recipe's settings, such as `train`, `epochs` or `encoder`. `data`, `train`,
            `validation` and `test` may also be rows in memory, such as a DataFrame, and `strategy` may be a
            `tf.distribute.Strategy`.

    Returns:
        The finished run.

    Raises:
        InputError: If a setting, a file or a row is invalid. Nothing is written.
        RunError: If the training fails.
        Preempted: If SIGTERM stops the training, which `resume` continues.

    Example:
        run = tfhub_ft.train("sentiment", data="reviews.csv", output_dir="runs/reviews", epochs=2)
        run.metrics["test"]["accuracy"]
        tfhub_ft.train("sentiment", data=pandas.read_csv("reviews.csv"), output_dir="runs/frame")

    Reference:
        Reimers and Gurevych 2017 (seeds), https://arxiv.org/abs/1707.09861; Bengio and Grandvalet 2004 (folds),
        https://www.jmlr.org/papers/v5/grandvalet04a.html
    """
    output_dir = None if output_dir is None else check_path("output_dir", output_dir)
    for argument, flag in (("resume", resume), ("recover", recover)):
        check_type(argument, flag, bool, "True or False")
    keras_arguments = KerasArguments.checked(callbacks, metrics, optimizer)
    repeats = check_repeats(folds, seeds)
    if repeats and (resume or recover) and output_dir is None:
        raise InputError("--resume: needs --output-dir, the run folder to continue in")
    if repeats and (resume or recover) and not is_unfinished(output_dir):
        raise InputError(
            f"--{repeats[0]}: not found in {output_dir}, which has a single run or none; leave the option out"
        )
    scope = contextlib.nullcontext()
    strategy = settings.get("strategy", "one")
    if not isinstance(strategy, str):
        check_strategy(strategy, output_dir)
        if repeats and workers_of(strategy) > 1:
            raise InputError(f"--{repeats[0]}: not available with several workers; train on one machine")
        settings["strategy"] = "one"
        scope = strategy.scope()
    arguments = recipe, output_dir, config, settings, keras_arguments
    with scope:
        if repeats or ((resume or recover) and is_unfinished(output_dir)):
            return train_repeats(_train_run, *arguments, repeats=repeats, resume=resume, recover=recover)
        return _train_run(*arguments, resume=resume, recover=recover)


def _train_run(
    recipe: str | Path,
    output_dir: Path | None,
    config: str | Path | None,
    settings: Mapping[str, Any],
    keras_arguments: KerasArguments,
    *,
    resume: bool,
    recover: bool,
    repeat: Repeat | None = None,
) -> Run:
    """Train one run, which may be one of several; the other arguments are those of `train`."""
    from tfhub_ft.training.results import score_trained, score_untrained, write_results, write_samples
    from tfhub_ft.training.tracking import make_tracker
    from tfhub_ft.training.trainer import Trainer

    with (
        start_training(
            recipe,
            output_dir,
            config,
            settings,
            resume=resume,
            recover=recover,
            load=repeat.load_rows if repeat else None,
        ) as start,
        release_gradients(),
    ):
        task, resolved = start.recipe.task, start.settings
        keras_arguments.check_settings(resolved, start.given, recover=recover)
        if start.run:
            keras_arguments.check_resumed(start.run)
        tracker = make_tracker(resolved.track if is_chief(resolved.strategy) else None)
        with recorded_warnings() as warnings:
            dataset = start.load_dataset()
            strategy = start_strategy(resolved)
            check_same_rows(strategy, dataset.memory_digests)
            built = build_model(start.recipe, resolved, dataset.labels, strategy, start.earlier_weights())
            tokens = tokenize_splits(task, dataset, built.preprocessor, advice=long_text_advice(resolved))
            initialize(task, built, tokens["train"], dataset.targets["train"], resolved)
        if not start.run:
            resolved = reach_min_steps(resolved, tokens["train"], start.given)
        trainer = Trainer(
            start.recipe, resolved, dataset, built, tokens, strategy, keras_arguments, is_repeat=bool(repeat)
        )
        if repeat:
            repeat.begin()
        with open_run(
            start.recipe, start.recipe_name, start.folder, resolved, dataset, tracker, resumed=start.run
        ) as run:
            run.add_warnings(warnings)
            write_samples(run, task, dataset, resolved.seed)
            untrained = score_untrained(trainer)
            checkpoints = trainer.fit(run, tracker)
            scores, scored = score_trained(trainer, checkpoints, untrained)
            write_results(run, trainer, checkpoints, scores, scored, tracker)
    return Run(output_dir or start.folder)
