import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.training.train_step import TrainStepModel
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.keras_compat import logs_need_an_axis

X, Y = np.array([[1.0], [3.0]], "float32"), np.array([[1.0], [1.0]], "float32")


@pytest.fixture
def model():
    inputs = keras.Input((1,))
    model = TrainStepModel(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(inputs))
    model.compile(keras.optimizers.SGD(0.25), keras.losses.MeanSquaredError())
    model.build_for((X, Y))
    return model


def step(model, x, y, share, rows, **weights):
    counts = {"share": np.float32(share), "rows": np.float32(rows), **weights}
    return model.train_step((tf.constant(x), tf.constant(y), counts))


def test_train_step_adds_up_gradients_of_parts(model):
    kernel = model.layers[-1].kernel
    step(model, X, Y, 1, 2)
    whole = kernel.numpy()
    kernel.assign([[0.0]])
    updates = []
    for row in range(2):
        kernel.assign([[0.0]])
        step(model, X[row : row + 1], Y[row : row + 1], 0.5, 1)
        updates.append(kernel.numpy())
    np.testing.assert_allclose(sum(updates), whole)
    np.testing.assert_allclose(whole, [[0.25 * np.mean(2 * X * Y)]])


def test_train_step_averages_the_loss_over_rows(model):
    model.optimizer.learning_rate = 0.0
    step(model, X, Y, 1, 3)
    logs = step(model, X, 3 * Y, 1, 1)
    assert float(logs["loss"]) == pytest.approx((3 * 1 + 1 * 9) / 4)


def test_train_step_weights_the_losses_of_rows(model):
    weights = np.array([3.0, 0.5], "float32")
    logs = step(model, X, Y, 1, 2, weights=weights)
    gradient = np.mean(weights[:, None] * -2 * X * Y)
    np.testing.assert_allclose(model.layers[-1].kernel.numpy(), [[-0.25 * gradient]])
    assert float(logs["loss"]) == pytest.approx(np.mean(weights))


def test_logs_need_no_axis_on_one_replica():
    assert not logs_need_an_axis(tf.distribute.get_strategy())


def test_train_step_model_reloads_from_a_file_of_a_callback(tmp_path):
    inputs = keras.Input((3,))
    model = TrainStepModel(inputs, keras.layers.Dense(2)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert isinstance(loaded, TrainStepModel)
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_train_step_refuses_metrics_with_several_values():
    inputs = keras.Input((3,))
    model = TrainStepModel(inputs, keras.layers.Dense(2)(inputs))
    model.compile("sgd", keras.losses.MeanSquaredError(), metrics=[keras.metrics.F1Score(name="f1")])
    share = {"share": tf.constant(1.0), "rows": tf.constant(4.0)}
    batch = tf.zeros((4, 3)), tf.ones((4, 2)), share
    with pytest.raises(InputError, match="^metrics: f1 has 2 values; choose one that has a single value$"):
        model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
