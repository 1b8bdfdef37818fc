import keras
import pytest

import tfhub_ft
from tfhub_ft.recipe import load_recipe
from tfhub_ft.training.keras_arguments import KerasArguments
from tfhub_ft.training.start import read_settings
from tfhub_ft.utils.errors import InputError


class Unready(keras.metrics.Metric):
    """A metric whose configuration lacks an argument."""

    def __init__(self, size):
        super().__init__(name="unready")


def built_optimizer():
    optimizer = keras.optimizers.Adam()
    optimizer.build([keras.Variable([1.0])])
    return optimizer


SCHEDULED = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 10))
SCHEDULER = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
BAD = [
    ({"callbacks": [3]}, "^callbacks: expected a list of keras.callbacks.Callback, got an int$"),
    ({"callbacks": "early"}, "^callbacks: expected a list of keras.callbacks.Callback, got a str$"),
    ({"callbacks": [keras.callbacks.BackupAndRestore("backup")]}, "^callbacks: BackupAndRestore is not needed"),
    ({"callbacks": [keras.callbacks.EarlyStopping()]}, "^callbacks: EarlyStopping monitors val_loss, which is not"),
    (
        {"callbacks": [keras.callbacks.ModelCheckpoint("a.keras", save_best_only=True)]},
        "^callbacks: ModelCheckpoint mon",
    ),
    ({"callbacks": [SCHEDULER]}, "^callbacks: LearningRateScheduler needs an optimizer with a constant"),
    ({"callbacks": [SCHEDULER], "optimizer": SCHEDULED}, "^callbacks: LearningRateScheduler needs an optimizer"),
    ({"callbacks": [keras.callbacks.ReduceLROnPlateau("loss")]}, "^callbacks: ReduceLROnPlateau needs an optimizer"),
    ({"metrics": ["exactness"]}, "^metrics: 'exactness' is not a metric of Keras"),
    ({"metrics": [keras.metrics.AUC]}, "^metrics: expected .*, got the class AUC$"),
    ({"metrics": 3}, "^metrics: expected .*, got an int$"),
    ({"optimizer": "adam"}, "^optimizer: expected a keras.optimizers.Optimizer, or a function .*, got a str$"),
    ({"optimizer": keras.optimizers.Adam}, "^optimizer: expected .*, got the class Adam$"),
    ({"optimizer": built_optimizer()}, "^optimizer: already trains another model; pass a new one$"),
    ({"optimizer": SCHEDULED, "learning_rate": 1e-3}, "^--learning-rate 0.001: cannot be combined with optimizer"),
    ({"optimizer": SCHEDULED, "weight_decay": 0.0}, "^--weight-decay 0.0: cannot be combined with optimizer"),
    ({"optimizer": SCHEDULED, "layer_decay": 0.9}, "^--layer-decay 0.9: cannot be combined with optimizer"),
    ({"optimizer": SCHEDULED, "unfreeze": "0,1"}, "^--unfreeze 0,1: cannot be combined with optimizer"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_train_refuses_keras_arguments_before_it_reads_rows(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        tfhub_ft.train("sentiment", data=tmp_path / "missing.csv", output_dir=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_checked_accepts_single_objects_and_nothing():
    stop = keras.callbacks.EarlyStopping("loss")
    arguments = KerasArguments.checked(stop, "accuracy", None)
    assert (arguments.callbacks, arguments.metrics) == ((stop,), ("accuracy",))
    assert not KerasArguments.checked(None, None, None)
    assert arguments.described == {"callbacks": ["EarlyStopping"], "metrics": ["accuracy"], "optimizer": None}


def test_checked_accepts_a_model_checkpoint_of_every_epoch():
    checkpoint = keras.callbacks.ModelCheckpoint("a.keras")
    assert KerasArguments.checked([checkpoint], None, None).callbacks == (checkpoint,)


def test_new_metrics_are_copies():
    metric = keras.metrics.SparseCategoricalAccuracy(name="exact")
    metric.update_state([1], [[0.0, 1.0]])
    (copy,) = KerasArguments.checked(None, [metric], None).new_metrics()
    assert copy is not metric
    assert (copy.name, float(copy.total)) == ("exact", 0.0)
    with pytest.raises(InputError, match=r"^metrics: Unready cannot be copied \(.*\); define get_config$"):
        KerasArguments(metrics=[Unready(3)]).new_metrics()


def test_new_optimizer_checks_what_a_function_returns():
    def arguments(result, callbacks=()):
        return KerasArguments(optimizer=lambda steps: result, callbacks=callbacks)

    assert isinstance(arguments(keras.optimizers.Lion()).new_optimizer(10, 2), keras.optimizers.Lion)
    with pytest.raises(InputError, match="^optimizer: the function's result: expected a keras.optimizers.Optimizer"):
        arguments("adam").new_optimizer(10, 1)
    with pytest.raises(InputError, match="LearningRateScheduler needs an optimizer with a constant"):
        arguments(SCHEDULED, [SCHEDULER]).new_optimizer(10, 1)
    with pytest.raises(InputError, match="^optimizer: with several replicas, pass a function"):
        KerasArguments(optimizer=SCHEDULED).new_optimizer(10, 2)


def test_check_settings_refuses_to_recover_with_an_optimizer():
    settings, given = read_settings(load_recipe("sentiment"), None, {})
    with pytest.raises(InputError, match="^recover: halves the rate of the default optimizer only"):
        KerasArguments(optimizer=SCHEDULED).check_settings(settings, given, recover=True)
    KerasArguments(optimizer=SCHEDULED).check_settings(settings, given, recover=False)


@pytest.mark.parametrize("function", [tfhub_ft.tune, tfhub_ft.dry_run])
def test_other_functions_refuse_callbacks(tmp_path, function):
    folder = {} if function is tfhub_ft.dry_run else {"output_dir": tmp_path / "search"}
    with pytest.raises(InputError, match="unknown setting 'callbacks'"):
        function("sentiment", callbacks=[SCHEDULER], **folder)
