"""Log training runs to MLflow and Weights & Biases."""

import atexit
import contextlib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from tfhub_ft.run import RECIPE, REPORT, Run
from tfhub_ft.training.callbacks import TrainingCallback
from tfhub_ft.utils.console import warn
from tfhub_ft.utils.errors import InputError, first_line

if TYPE_CHECKING:
    import wandb  # pyright: ignore[reportMissingImports]

LOGGED_FILES = (REPORT, RECIPE)


class Tracker(TrainingCallback):
    """The tracker of a run that is not tracked, which logs nothing; the base of the others, which log to a service."""

    name = advice = ""
    _is_lost = False

    def begin(self, recipe: str, name: str, config: Mapping[str, object], run_id: str | None = None) -> dict[str, str]:
        """Begin to log a run before its folder exists, or continue `run_id`; return what tracking.json stores."""
        with self._input_errors():
            new_id = self._begin(recipe, name, config, run_id)
        return {self.name: new_id} if new_id else {}

    @contextlib.contextmanager
    def _input_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise InputError(f"--track {self.name}: {first_line(error)}; {self.advice}") from error

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        self._try(lambda: self._log(numbers, epoch + 1))

    def finish(self, run: Run) -> None:
        """Log the scores of a finished run, its report and its settings."""
        self._try(lambda: self._finish(run, _scores(run)))

    def _try(self, call: Callable[[], None]) -> None:
        """Call the service; after a failure, training continues without it."""
        if self._is_lost:
            return
        try:
            call()
        except Exception as error:
            self._is_lost = True
            warn(f"--track {self.name}: {first_line(error)}; training continues without it")

    def _begin(self, recipe: str, name: str, config: Mapping[str, object], run_id: str | None) -> str:
        return ""

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        pass

    def _finish(self, run: Run, scores: Mapping[str, float]) -> None:
        pass


class MlflowTracker(Tracker):
    """Log to MLflow, one experiment per recipe: https://mlflow.org/docs/latest/ml/tracking/"""

    name = "mlflow"
    advice = "set MLFLOW_TRACKING_URI to a store that MLflow can write to"

    def __init__(self):
        super().__init__()
        import mlflow

        for logger in ("alembic", "mlflow"):
            logging.getLogger(logger).setLevel(logging.WARNING)
        with self._input_errors():
            self.client = mlflow.MlflowClient()
            # The first request opens the store.
            self.client.search_experiments(max_results=1)

    def _begin(self, recipe: str, name: str, config: Mapping[str, object], run_id: str | None) -> str:
        from mlflow.entities import Param

        if run_id:
            self.client.update_run(run_id, status="RUNNING")
        else:
            experiment = self.client.get_experiment_by_name(recipe)
            experiment_id = experiment.experiment_id if experiment else self.client.create_experiment(recipe)
            run_id = str(self.client.create_run(experiment_id, run_name=name).info.run_id)
            params = [Param(key, str(value)) for key, value in config.items()]
            self.client.log_batch(run_id, params=params)
        self.run_id = run_id
        atexit.register(self._try, self._mark_failed)
        return run_id

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self.client.log_metric(self.run_id, name, value, step=step)

    def _finish(self, run: Run, scores: Mapping[str, float]) -> None:
        self._log(scores, step=0)
        for name in LOGGED_FILES:
            self.client.log_artifact(self.run_id, str(run.path / name))
        self.client.set_terminated(self.run_id)

    def _mark_failed(self) -> None:
        """Log that the process ended before the run did."""
        if self.client.get_run(self.run_id).info.status == "RUNNING":
            self.client.set_terminated(self.run_id, "FAILED")


class WandbTracker(Tracker):
    """Log to Weights & Biases, one project per recipe: https://docs.wandb.ai/ref/python"""

    name = "wandb"
    advice = "check `wandb login` and the WANDB_ variables"
    run: "wandb.Run"

    def _begin(self, recipe: str, name: str, config: Mapping[str, object], run_id: str | None) -> str:
        import wandb  # pyright: ignore[reportMissingImports]

        self.run = wandb.init(
            project=recipe,
            name=name,
            id=run_id,
            resume="allow" if run_id else None,
            config=dict(config),
            allow_val_change=True,
            reinit="create_new",
            # wandb would wrap the streams that progress is shown on.
            settings=wandb.Settings(silent=True, console="off"),
        )
        return self.run.id

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        self.run.log(dict(numbers), step=step)

    def _finish(self, run: Run, scores: Mapping[str, float]) -> None:
        import wandb  # pyright: ignore[reportMissingImports]

        self.run.summary.update(scores)
        artifact = wandb.Artifact(f"run-{self.run.id}", type="run")
        for name in LOGGED_FILES:
            artifact.add_file(str(run.path / name), name)
        self.run.log_artifact(artifact)
        self.run.finish()


def make_tracker(track: str | None) -> Tracker:
    """Return the tracker that the setting `track` names; without one, a tracker that logs nothing."""
    if not track:
        return Tracker()
    if importlib.util.find_spec(track) is None:
        raise InputError(f"--track {track}: not installed; pip install 'tfhub_ft[{track}]'")
    return {"mlflow": MlflowTracker, "wandb": WandbTracker}[track]()


def _scores(run: Run) -> dict[str, float]:
    """Return the scores of the held-out splits that are numbers, by names such as "test/accuracy"."""
    return {
        f"{split}/{name}": float(value)
        for split, scores in run.metrics.items()
        if split != "train"
        for name, value in scores.items()
        if isinstance(value, int | float)
    }
