"""What a training tells a tracker of experiments: its settings, each epoch's losses, its scores and its report."""

import atexit
import importlib.util
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras

from tfhub_ft.console import warn
from tfhub_ft.errors import InputError, WorkError, first_line
from tfhub_ft.files import write_json
from tfhub_ft.run import RECIPE, REPORT, TRACKED, Run

if TYPE_CHECKING:
    import mlflow
    import wandb

LOOKED_AT = (REPORT, RECIPE)


class Tracker(keras.callbacks.Callback):
    """The tracker of a training that is not tracked: it logs nothing. The base of those that do."""

    def begin(self, run: Run) -> "Tracker":
        """Begin to log a run, or go on with it where it was resumed.

        Returns:
            Itself, a callback for `fit`.

        Raises:
            WorkError: the tracker does not take it.
        """
        return self

    def finish(self, run: Run) -> None:
        """Log the scores of a finished run, its report and its settings as files."""


class _Logging(Tracker):
    """Logs by what its subclasses know: how to begin, how to log numbers, how to end."""

    name: str

    def begin(self, run: Run) -> Tracker:
        """Begin to log a run, or go on with it; which one it is in the tracker's store is kept in the run folder."""
        self._lost = False
        try:
            known = self._begin(run, run.tracked.get(self.name))
        except Exception as error:
            raise WorkError(
                f"--track {self.name}: {first_line(error)}; with that put right, --resume goes on"
            ) from error
        write_json(run.path / TRACKED, {self.name: known})
        return self

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

    def _begin(self, run: Run, known: str | None) -> str:
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
    client: "mlflow.MlflowClient"

    def _begin(self, run: Run, known: str | None) -> str:
        import mlflow
        from mlflow.entities import Param

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.client = mlflow.MlflowClient()
        self.run_id = known or self._new_run(run)
        if known:
            self.client.update_run(known, status="RUNNING")
        else:
            params = [Param(key, str(value)) for key, value in _settings(run).items()]
            self.client.log_batch(self.run_id, params=params)
        atexit.register(self._tell, self._left)
        return self.run_id

    def _new_run(self, run: Run) -> str:
        name = run.recipe.name
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self.client.create_experiment(name)
        return self.client.create_run(experiment, run_name=_name(run)).info.run_id

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
    run: "wandb.Run"

    def _begin(self, run: Run, known: str | None) -> str:
        import wandb

        self.run = wandb.init(
            project=run.recipe.name,
            name=_name(run),
            id=known,
            resume="allow" if known else None,
            config=_settings(run),
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
    """The tracker that the setting `track` names; without one, one that logs nothing.

    Raises:
        InputError: it is not installed.

    Example:
        tracker_of("mlflow").begin(run)
    """
    if not track:
        return Tracker()
    if importlib.util.find_spec(track) is None:
        raise InputError(f"--track {track} is not installed: pip install 'tfhub_ft[{track}]'")
    return TRACKERS[track]()


def _settings(run: Run) -> dict[str, Any]:
    return {"recipe": run.recipe_name, **run.settings.as_dict()}


def _scores(run: Run) -> dict[str, float]:
    """The numbers among the scores of each split, such as "test/accuracy"."""
    return {
        f"{split}/{name}": float(value)
        for split, scores in run.metrics.items()
        if split != "train"
        for name, value in scores.items()
        if isinstance(value, int | float)
    }


def _name(run: Run) -> str:
    return run.path.resolve().name
