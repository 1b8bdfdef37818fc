"""Callbacks, metrics and an optimizer of Keras that are passed to `train`."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.run import KERAS, Run
from tfhub_ft.settings import TrainingSettings, option_name
from tfhub_ft.utils.arguments import check_type, type_name
from tfhub_ft.utils.errors import InputError, first_line
from tfhub_ft.utils.files import write_json

if TYPE_CHECKING:
    import keras

    OptimizerArgument = keras.optimizers.Optimizer | Callable[[int], keras.optimizers.Optimizer]

# Settings of the default optimizer, which another one replaces.
OPTIMIZER_SETTINGS = ("learning_rate", "warmup", "weight_decay", "clip_norm", "layer_decay", "unfreeze")
OPTIMIZER_SETTINGS += ("accumulate_steps",)
AN_OPTIMIZER = "a keras.optimizers.Optimizer, or a function from the number of steps to one"


@dataclass(frozen=True)
class KerasArguments:
    """The arguments `callbacks`, `metrics` and `optimizer` of `train`, checked; empty by default."""

    callbacks: "Sequence[keras.callbacks.Callback]" = ()
    metrics: "Sequence[keras.metrics.Metric | str | Callable]" = ()
    optimizer: "OptimizerArgument | None" = None

    @classmethod
    def checked(cls, callbacks: Any, metrics: Any, optimizer: Any) -> "KerasArguments":
        """Return the arguments; raise an InputError for those of another type."""
        if callbacks is None and metrics is None and optimizer is None:
            return cls()
        return cls(_checked_callbacks(callbacks), _checked_metrics(metrics), _checked_optimizer(optimizer))

    def __bool__(self) -> bool:
        return bool(self.callbacks or self.metrics or self.optimizer is not None)

    @property
    def described(self) -> dict[str, Any]:
        """The classes of the objects, by argument; a metric may have a name instead."""
        optimizer = self.optimizer
        is_function = callable(optimizer) and not hasattr(optimizer, "get_config")
        return {
            "callbacks": [type(callback).__name__ for callback in self.callbacks],
            "metrics": [
                metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
                for metric in self.metrics
            ],
            "optimizer": None if optimizer is None else "a function" if is_function else type(optimizer).__name__,
        }

    def check_settings(self, settings: TrainingSettings, given: Collection[str], *, recover: bool) -> None:
        """Raise an InputError for settings that the optimizer replaces."""
        if self.optimizer is not None and recover:
            raise InputError(
                "recover: halves the rate of the default optimizer only; train again with a lower rate of your own"
            )
        if self.optimizer is None:
            self._check_learning_rate(None)
            return
        changed = {"unfreeze": None, "layer_decay": 1.0, "accumulate_steps": 1}
        for name in OPTIMIZER_SETTINGS:
            value = getattr(settings, name, changed.get(name))
            if name in given or (name in changed and value != changed[name]):
                raise InputError(f"{option_name(name)} {value}: cannot be combined with optimizer; pass one of them")
        import keras

        if isinstance(self.optimizer, keras.optimizers.Optimizer):
            self._check_learning_rate(self.optimizer)

    def check_repeated(self) -> None:
        """Raise an InputError for objects that cannot train several models."""
        if not self:
            return
        import keras

        if self.callbacks:
            raise InputError("callbacks: cannot be combined with folds or seeds, which train several models; omit them")
        if isinstance(self.optimizer, keras.optimizers.Optimizer):
            raise InputError(
                "optimizer: one object trains one model; with folds or seeds, pass a function from the number of steps"
                " to an optimizer"
            )

    def check_resumed(self, run: Run) -> None:
        """Raise an InputError if a run was started with other classes of objects."""
        if not run.training_state:
            return
        recorded = run.keras_arguments
        for name, value in self.described.items():
            if (recorded.get(name) or None) != (value or None):
                before = recorded.get(name) or "none"
                before = ", ".join(before) if isinstance(before, list) else before
                raise InputError(
                    f"{name}: the run in {run.path} was started with {before}; continue it in Python and pass the same"
                )

    def record(self, run: Run, optimizer: "keras.optimizers.Optimizer") -> None:
        """Record the arguments in the run folder; raise an InputError if the optimizer of a resumed run differs."""
        if not self:
            return
        described = {**self.described, "optimizer_config": None if self.optimizer is None else _config(optimizer)}
        recorded = run.keras_arguments
        if run.training_state and recorded.get("optimizer_config") != described["optimizer_config"]:
            raise InputError(
                f"optimizer: the run in {run.path} was started with other arguments of {type(optimizer).__name__};"
                " pass the same"
            )
        write_json(run.path / KERAS, described)

    def new_metrics(self) -> "list[keras.metrics.Metric | str | Callable]":
        """Return copies of the metrics, created in the current strategy."""
        import keras

        return [_copied(metric) if isinstance(metric, keras.metrics.Metric) else metric for metric in self.metrics]

    def new_optimizer(self, steps: int, replicas: int) -> "keras.optimizers.Optimizer | None":
        """Return the optimizer for a number of steps; None where the default one is used."""
        import keras

        optimizer = self.optimizer
        if optimizer is None:
            return None
        if isinstance(optimizer, keras.optimizers.Optimizer):
            if replicas > 1:
                raise InputError(
                    "optimizer: with several replicas, pass a function from the number of steps to an optimizer"
                )
            return optimizer
        result = "optimizer: the function's result"
        made = check_type(result, optimizer(steps), keras.optimizers.Optimizer, "a keras.optimizers.Optimizer")
        _check_is_new(made)
        self._check_learning_rate(made)
        return made

    def _check_learning_rate(self, optimizer: "keras.optimizers.Optimizer | None") -> None:
        """Raise an InputError if a callback sets a learning rate that follows a schedule."""
        if not self.callbacks or (optimizer and not isinstance(optimizer.get_config().get("learning_rate"), Mapping)):
            return
        import keras

        setters = keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau
        for callback in self.callbacks:
            if isinstance(callback, setters):
                raise InputError(
                    f"callbacks: {type(callback).__name__} needs an optimizer with a constant learning rate; pass one,"
                    " such as optimizer=keras.optimizers.AdamW(5e-5)"
                )


def _checked_callbacks(callbacks: Any) -> "tuple[keras.callbacks.Callback, ...]":
    import keras

    expected = "a list of keras.callbacks.Callback"
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    for callback in check_type("callbacks", callbacks or [], (list, tuple), expected):
        check_type("callbacks", callback, keras.callbacks.Callback, expected)
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise InputError("callbacks: BackupAndRestore is not needed; every run has checkpoints, see resume=True")
        # A ModelCheckpoint that saves every epoch reads no score.
        if getattr(callback, "monitor", None) == "val_loss" and getattr(callback, "save_best_only", True):
            raise InputError(
                f"callbacks: {type(callback).__name__} monitors val_loss, which is not computed; monitor a score of"
                " history.csv, such as val_log_loss or val_accuracy"
            )
    return tuple(callbacks or ())


def _checked_metrics(metrics: Any) -> "tuple[keras.metrics.Metric | str | Callable, ...]":
    import keras

    expected = "a list of keras.metrics.Metric or of their names"
    if isinstance(metrics, str | keras.metrics.Metric):
        metrics = [metrics]
    for metric in check_type("metrics", metrics or [], (list, tuple), expected):
        if isinstance(metric, str) and metric not in ("accuracy", "acc"):
            try:
                keras.metrics.get(metric)
            except ValueError:
                raise InputError(f"metrics: {metric!r} is not a metric of Keras; pass {expected}") from None
        if isinstance(metric, type) or not (isinstance(metric, str | keras.metrics.Metric) or callable(metric)):
            got = f"the class {metric.__name__}" if isinstance(metric, type) else type_name(metric)
            raise InputError(f"metrics: expected {expected}, got {got}")
    return tuple(metrics or ())


def _checked_optimizer(optimizer: Any) -> "OptimizerArgument | None":
    import keras

    if isinstance(optimizer, type) or not (
        optimizer is None or isinstance(optimizer, keras.optimizers.Optimizer) or callable(optimizer)
    ):
        got = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type_name(optimizer)
        raise InputError(f"optimizer: expected {AN_OPTIMIZER}, got {got}")
    if isinstance(optimizer, keras.optimizers.Optimizer):
        _check_is_new(optimizer)
    return optimizer


def _check_is_new(optimizer: "keras.optimizers.Optimizer") -> None:
    if optimizer.built:
        raise InputError("optimizer: already trains another model; pass a new one")


def _copied(metric: "keras.metrics.Metric") -> "keras.metrics.Metric":
    try:
        return metric.__class__.from_config(metric.get_config())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"metrics: {type(metric).__name__} cannot be copied ({first_line(error)}); define get_config"
        ) from None


def _config(optimizer: "keras.optimizers.Optimizer") -> Any:
    """Return the configuration of an optimizer as JSON values without names, which Keras numbers."""
    import keras

    try:
        config = _without_names(keras.saving.serialize_keras_object(optimizer))
        return json.loads(json.dumps(config, default=str))
    except (TypeError, ValueError, NotImplementedError):
        return {"class_name": type(optimizer).__name__}


def _without_names(config: Any) -> Any:
    if not isinstance(config, Mapping):
        return config
    return {key: _without_names(value) for key, value in config.items() if key != "name"}
