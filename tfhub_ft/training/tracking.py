"""Log training runs to MLflow and Weights & Biases: settings, losses of each epoch, scores and the report."""

import atexit
import contextlib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import keras

from tfhub_ft.run import RECIPE, REPORT, Run
from tfhub_ft.utils.console import warn
from tfhub_ft.utils.errors import InputError, first_line

if TYPE_CHECKING:
    import mlflow
    import wandb

LOOKED_AT = (REPORT, RECIPE)


class Tracker(keras.callbacks.Callback):
    """The tracker of a training run that is not tracked: it logs nothing. The base of those that do."""

    def begin(self, recipe: str, name: str, config: Mapping[str, Any], known: str | None = None) -> dict[str, str]:
        """Begin to log a run, before its folder exists, or continue it.

        Args:
            recipe: the name of the recipe.
            name: the name of the run.
            config: the settings.
            known: where it continues: its identifier in the tracker's store.

        Returns:
            What tracking.json holds: the identifier, by the name of the tracker.

        Raises:
            InputError: the tracker refuses it.
        """
        return {}

    def finish(self, run: Run) -> None:
        """Log the scores of a finished run, its report and its settings as files."""


class _Logging(Tracker):
    """Logs by what its subclasses know: how to begin, how to log numbers, how to end."""

    name: str
    advice: str

    def begin(self, recipe: str, name: str, config: Mapping[str, Any], known: str | None = None) -> dict[str, str]:
        """Begin to log a run, or continue it."""
        self._lost = False
        with self._refusals():
            return {self.name: self._begin(recipe, name, config, known)}

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn an error of the tracker into an InputError."""
        try:
            yield
        except Exception as error:
            raise InputError(f"--track {self.name}: {first_line(error)}; {self.advice}") from error

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the losses and scores of an epoch."""
        numbers = {name: float(value) for name, value in logs.items()}
        self._tell(lambda: self._log(numbers, epoch + 1))

    def finish(self, run: Run) -> None:
        """Log what the run is, now that it is finished."""
        self._tell(lambda: self._finish(run, _scores(run)))

    def _tell(self, what: Callable[[], None]) -> None:
        """Call the tracker; training continues where the tracker has failed."""
        if self._lost:
            return
        try:
            what()
        except Exception as error:
            self._lost = True
            warn(f"--track {self.name}: {first_line(error)}; training continues without it")

    def _begin(self, recipe: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        raise NotImplementedError

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        raise NotImplementedError

    def _finish(self, run: Run, scores: Mapping[str, float]) -> None:
        raise NotImplementedError


class MlflowTracker(_Logging):
    """Logs into the store that MLflow finds, `MLFLOW_TRACKING_URI`: an experiment a recipe, a run a run folder.

    Reference:
        https://mlflow.org/docs/latest/ml/tracking/
    """

    name = "mlflow"
    advice = "set MLFLOW_TRACKING_URI to a store that MLflow can write to"
    client: "mlflow.MlflowClient"

    def __init__(self):
        super().__init__()
        import mlflow

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        with self._refusals():
            self.client = mlflow.MlflowClient()
            # It opens the store.
            self.client.search_experiments(max_results=1)

    def _begin(self, recipe: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        from mlflow.entities import Param

        self.run_id = known or self._new_run(recipe, name)
        if known:
            self.client.update_run(known, status="RUNNING")
        else:
            params = [Param(key, str(value)) for key, value in config.items()]
            self.client.log_batch(self.run_id, params=params)
        atexit.register(self._tell, self._left)
        return self.run_id

    def _new_run(self, recipe: str, name: str) -> str:
        found = self.client.get_experiment_by_name(recipe)
        experiment = found.experiment_id if found else self.client.create_experiment(recipe)
        return self.client.create_run(experiment, run_name=name).info.run_id

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self.client.log_metric(self.run_id, name, value, step=step)

    def _finish(self, run: Run, scores: Mapping[str, float]) -> None:
        self._log(scores, step=0)
        for name in LOOKED_AT:
            self.client.log_artifact(self.run_id, str(run.path / name))
        self.client.set_terminated(self.run_id)

    def _left(self) -> None:
        """Say that the process ended before the training did; another one in it may have gone on with the run."""
        if self.client.get_run(self.run_id).info.status == "RUNNING":
            self.client.set_terminated(self.run_id, "FAILED")


class WandbTracker(_Logging):
    """Logs to Weights & Biases, as `wandb login` and the WANDB_ variables have it: a project a recipe.

    Reference:
        https://docs.wandb.ai/ref/python
    """

    name = "wandb"
    advice = "check `wandb login` and the WANDB_ variables"
    run: "wandb.Run"

    def _begin(self, recipe: str, name: str, config: Mapping[str, Any], known: str | None) -> str:
        import wandb

        self.run = wandb.init(
            project=recipe,
            name=name,
            id=known,
            resume="allow" if known else None,
            config=dict(config),
            allow_val_change=True,
            reinit="create_new",
            # It would take hold of the streams that progress is shown on.
            settings=wandb.Settings(silent=True, console="off"),
        )
        return self.run.id

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        self.run.log(dict(numbers), step=step)

    def _finish(self, run: Run, scores: Mapping[str, float]) -> None:
        import wandb

        self.run.summary.update(scores)
        files = wandb.Artifact(f"run-{self.run.id}", type="run")
        for name in LOOKED_AT:
            files.add_file(str(run.path / name), name)
        self.run.log_artifact(files)
        self.run.finish()


TRACKERS = {each.name: each for each in (MlflowTracker, WandbTracker)}


def tracker_of(track: str | None) -> Tracker:
    """Return the tracker that the setting `track` names; without one, one that logs nothing.

    Raises:
        InputError: it is not installed, or its store cannot be opened.

    Example:
        tracker_of("mlflow").begin("sentiment", "my run", {"epochs": 3})
    """
    if not track:
        return Tracker()
    if importlib.util.find_spec(track) is None:
        raise InputError(f"--track {track} is not installed: pip install 'tfhub_ft[{track}]'")
    return TRACKERS[track]()


def _scores(run: Run) -> dict[str, float]:
    """The numbers among the scores of each split, such as "test/accuracy"."""
    return {
        f"{split}/{name}": float(value)
        for split, scores in run.metrics.items()
        if split != "train"
        for name, value in scores.items()
        if isinstance(value, int | float)
    }
