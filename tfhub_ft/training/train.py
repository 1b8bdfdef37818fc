"""Train a recipe: from settings to a finished run folder."""

from pathlib import Path
from typing import Any

from tfhub_ft.run import Run
from tfhub_ft.training.distribution import check_same_rows, check_strategy, is_chief, start_strategy
from tfhub_ft.training.pretrained import build_model, initialize
from tfhub_ft.training.start import open_run, start_training
from tfhub_ft.training.tokens import long_text_advice, reach_min_steps, tokenize_splits
from tfhub_ft.utils.arguments import check_path, check_type
from tfhub_ft.utils.console import recorded_warnings
from tfhub_ft.utils.memory import release_gradients


def train(
    recipe: str | Path,
    *,
    output_dir: str | Path | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    recover: bool = False,
    **settings: Any,
) -> Run:
    """Fine-tune an encoder with a recipe, evaluate it and write a run folder. What `tfhub-ft train` does.

    Args:
        recipe: The name of a recipe, or the path of a recipe file.
        output_dir: The run folder, which must be new or empty. By default `runs/NAME-N`.
        config: A YAML file of settings; keyword arguments override it.
        resume: Continue the training in `output_dir` from its last checkpoint.
        recover: Like `resume`, after a NaN loss: continue from the last good epoch at half the learning rate.
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
    """
    from tfhub_ft.training.results import score_trained, score_untrained, write_results, write_samples
    from tfhub_ft.training.tracking import make_tracker
    from tfhub_ft.training.trainer import Trainer

    output_dir = None if output_dir is None else check_path("output_dir", output_dir)
    for argument, flag in (("resume", resume), ("recover", recover)):
        check_type(argument, flag, bool, "True or False")
    strategy = settings.get("strategy", "one")
    if not isinstance(strategy, str):
        check_strategy(strategy, output_dir)
        settings["strategy"] = "one"
        with strategy.scope():
            return train(recipe, output_dir=output_dir, config=config, resume=resume, recover=recover, **settings)
    with (
        start_training(recipe, output_dir, config, settings, resume=resume, recover=recover) as start,
        release_gradients(),
    ):
        task, resolved = start.recipe.task, start.settings
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
        trainer = Trainer(start.recipe, resolved, dataset, built, tokens, strategy)
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
