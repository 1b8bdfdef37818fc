"""Train a recipe: from settings to a finished run folder."""

from pathlib import Path
from typing import Any

from tfhub_ft.run import Run
from tfhub_ft.training.distribution import check_strategy, is_chief, start_strategy
from tfhub_ft.training.pretrained import build_model, initialize
from tfhub_ft.training.start import opened_run, started
from tfhub_ft.training.tokens import reach_min_steps, tokenize_splits
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
    """Fine-tune an encoder by a recipe, score it, and leave a run folder. What `tfhub-ft train` does.

    Args:
        recipe: a recipe's name, or the path of a recipe file.
        output_dir: the run folder, which must be new or empty; `runs/NAME-N` by default.
        config: a YAML file of settings.
        resume: continue the training in `output_dir` where it was stopped or killed.
        recover: continue a training whose loss became NaN, from its last good epoch, at half the learning rate.
        settings: any field of the recipe's settings: train, epochs, encoder ... They go before the file's. `strategy`
            may be a tf.distribute.Strategy, too.

    Returns:
        The finished run.

    Raises:
        InputError: a setting, a file or a row is not as it must be. Nothing was started.
        RunError: the training failed.
        Preempted: SIGTERM stopped it; `resume` continues it.

    Example:
        run = tfhub_ft.train("sentiment", data="reviews.csv", output_dir="runs/reviews", epochs=2)
        run.metrics["test"]["accuracy"]
    """
    from tfhub_ft.training.results import score_trained, score_untrained, write_results, write_samples
    from tfhub_ft.training.tracking import tracker_of
    from tfhub_ft.training.trainer import Trainer

    output_dir = None if output_dir is None else check_path("output_dir", output_dir)
    for argument, flag in (("resume", resume), ("recover", recover)):
        check_type(argument, flag, bool, "True or False")
    strategy = settings.get("strategy", "one")
    if not isinstance(strategy, str):
        check_strategy(strategy, output_dir)
        settings["strategy"], flags = "one", {"resume": resume, "recover": recover}
        with strategy.scope():
            return train(recipe, output_dir=output_dir, config=config, **flags, **settings)
    with started(recipe, output_dir, config, settings, resume=resume, recover=recover) as start, release_gradients():
        recipe, settings = start.recipe, start.settings
        tracker = tracker_of(settings.track if is_chief(settings.strategy) else None)
        with recorded_warnings() as warnings:
            dataset = start.load_dataset()
            strategy = start_strategy(settings)
            built = build_model(recipe, settings, dataset.labels, strategy)
            tokens = tokenize_splits(recipe.task, dataset, built.preprocessor)
            initialize(recipe.task, built, tokens["train"], dataset.targets["train"], settings)
        if not start.run:
            settings = reach_min_steps(settings, tokens["train"], start.given)
        trainer = Trainer(recipe, settings, dataset, built, tokens, strategy)
        with opened_run(recipe, start.recipe_name, start.folder, settings, dataset, tracker, resumed=start.run) as run:
            run.add_warnings(warnings)
            write_samples(run, recipe.task, dataset, settings.seed)
            untrained = score_untrained(trainer)
            checkpoints = trainer.fit(run, tracker)
            scores, scored = score_trained(trainer, checkpoints, untrained)
            write_results(run, trainer, checkpoints, scores, scored, tracker)
    return Run(output_dir or start.folder)
