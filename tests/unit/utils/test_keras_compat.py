"""Private APIs behave as keras_compat expects."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfhub_ft
from tfhub_ft.utils import keras_compat
from tfhub_ft.utils.errors import InputError

SOURCES = Path(tfhub_ft.__file__).parent


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@keras.saving.register_keras_serializable("compat")
class Recorder(keras.layers.Layer):
    """Records the state of Keras in calls and in from_config."""

    def call(self, inputs):
        SEEN.append(keras_compat.entry_layer())
        return inputs

    @classmethod
    def from_config(cls, config):
        SEEN.append(keras_compat.is_reading_legacy_file())
        return cls(**config)


SEEN = []


@pytest.fixture
def seen():
    SEEN.clear()
    return SEEN


def small_model():
    inputs = keras.Input((3,), name="inputs")
    hidden = keras.layers.Dense(4, name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, name="outputs")(hidden))


def test_entry_layer_is_the_outermost_model_of_a_call(seen):
    model = keras.Sequential([Recorder()])
    model(np.zeros((1, 3), "float32"))
    assert seen[-1] is model
    assert keras_compat.entry_layer() is None


def test_is_building_in_scope_of_symbolic_calls():
    found = []

    def call(inputs):
        found.append(keras_compat.is_building())
        return inputs

    keras.src.backend.compute_output_spec(call, keras.KerasTensor((None, 3)))
    assert all(found)
    assert found
    assert not keras_compat.is_building()


@pytest.mark.parametrize(("file", "is_legacy"), [("model.h5", True), ("model.keras", False)])
def test_is_reading_legacy_file_during_load_of_h5(seen, tmp_path, file, is_legacy):
    inputs = keras.Input((3,))
    keras.Model(inputs, Recorder()(inputs)).save(tmp_path / file)
    seen.clear()
    keras.models.load_model(tmp_path / file)
    assert [each for each in seen if isinstance(each, bool)] == [is_legacy]
    assert not keras_compat.is_reading_legacy_file()


def test_flatten_layers_returns_layers_of_all_levels():
    inner = small_model()
    outer = keras.Sequential([keras.Input((3,)), inner])
    found = list(keras_compat.flatten_layers(outer))
    assert {outer, inner, *inner.layers} <= {*found}
    assert outer not in keras_compat.flatten_layers(outer, include_self=False)


def test_untrack_variable_removes_weight_of_built_layer():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    keras_compat.untrack_variable(layer, layer.bias)
    assert [weight.name for weight in layer.weights] == ["kernel"]
    with pytest.raises(ValueError, match="locked|cannot add"):
        layer.add_weight(shape=())


def test_nodes_in_order_is_topological():
    model = small_model()
    nodes = keras_compat.nodes_in_order(model)
    assert [node.operation.name for node in nodes] == ["inputs", "hidden", "outputs"]
    assert [node.is_input for node in nodes] == [True, False, False]
    assert nodes[1].input_tensors == model.inputs
    assert nodes[2].output_tensors == model.outputs
    assert keras_compat.input_operation(model.outputs[0]) is model.get_layer("outputs")
    assert keras_compat.input_operation(tf.zeros(1)) is None
    (node,) = keras_compat.inbound_nodes(model.get_layer("hidden"))
    assert node is nodes[1]
    assert node.arguments.args == (model.inputs[0],)


def test_build_for_batch_builds_optimizer_and_metrics():
    model = small_model()
    model.compile("adam", "mse", metrics=["mae"])
    keras_compat.build_for_batch(model, (np.zeros((2, 3), "float32"), np.zeros((2, 2), "float32")))
    assert model.optimizer.built
    assert [metric.name for metric in model.metrics] == ["loss", "compile_metrics"]
    keras_compat.loss_tracker(model).update_state(3.0)
    assert float(model.get_metrics_result()["loss"]) == 3.0


def test_prebuilt_model_overrides_build_of_fit():
    assert [*inspect.signature(keras.Model._maybe_symbolic_build).parameters] == ["self", "iterator", "data_batch"]
    assert "_maybe_symbolic_build" in inspect.getsource(keras.Model.fit)


def test_unscaled_loss_undoes_division_by_replicas(monkeypatch):
    assert float(keras_compat.unscaled_loss(tf.constant(3.0))) == 3.0
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=2))
    assert float(keras_compat.unscaled_loss(tf.constant(3.0))) == 6.0


def test_logs_need_an_axis_is_false_on_one_device():
    assert not keras_compat.logs_need_an_axis(tf.distribute.get_strategy())


def test_optimizer_functions_return_rates_decay_and_moments():
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, 4, end_learning_rate=0.0)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    kernel, bias = (keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel", "bias"))
    optimizer.build([kernel, bias])
    optimizer.apply([tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0])])
    np.testing.assert_allclose(keras_compat.learning_rates(optimizer, keras.ops.arange(4)), [1, 0.75, 0.5, 0.25])
    assert [keras_compat.weight_decay_of(optimizer, each) for each in (kernel, bias)] == [0.5, 0.0]
    path, momentum, velocity = keras_compat.adam_slots(optimizer, bias.value)
    assert path == bias.path
    np.testing.assert_allclose(momentum, [0.3, 0.4], rtol=1e-5)
    np.testing.assert_allclose(velocity, [0.009, 0.016], rtol=1e-5)


def test_summed_gradients_clips_sum_and_skips_weight_decay():
    class Ours(keras_compat.SummedGradients, keras.optimizers.SGD):
        pass

    optimizer, variable = Ours(1.0, weight_decay=0.5, global_clipnorm=1.0), keras.Variable(np.zeros((3, 1), "float32"))
    optimizer.build([variable])
    twice = tf.IndexedSlices(tf.constant([[3.0], [-3.0], [0.5]]), tf.constant([0, 0, 1]), tf.constant([3, 1]))
    optimizer.apply([twice])
    np.testing.assert_allclose(variable, [[0], [-0.5], [0]], atol=1e-6)
    variable.assign(np.ones((3, 1)))
    optimizer.apply([tf.zeros((3, 1))])
    np.testing.assert_array_equal(variable, np.ones((3, 1)))


def test_own_kernel_excludes_lora_update():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    before = layer.kernel.numpy()
    layer.enable_lora(1)
    layer.lora_kernel_b.assign([[1.0, 2.0]])
    np.testing.assert_array_equal(keras_compat.own_kernel(layer), before)
    assert (np.asarray(layer.kernel) != before).all()


def test_decoder_norms_returns_norms_of_layer():
    models = pytest.importorskip("keras_hub").models
    sizes = {"vocabulary_size": 8, "num_layers": 1, "hidden_dim": 4, "intermediate_dim": 8}
    backbone = models.LlamaBackbone(**sizes, num_query_heads=2, num_key_value_heads=1)
    norms = keras_compat.decoder_norms(backbone.transformer_layers[0])
    assert [norm.name for norm in norms] == ["self_attention_layernorm", "feedforward_layernorm"]
    assert [norm.scale.shape for norm in norms] == [(4,)] * 2


def test_kerashub_preset_file_returns_path_in_folder(tiny_preset):
    assert keras_compat.kerashub_preset_file(str(tiny_preset), "config.json") == Path(tiny_preset) / "config.json"


def test_freeze_variables_replaces_variables_by_constants():
    variable = tf.Variable(2.0)
    function = tf.function(lambda x: x * variable, input_signature=[tf.TensorSpec((), tf.float32)])
    frozen = keras_compat.freeze_variables(function.get_concrete_function())
    assert not any(
        "Variable" in operation.type or "VarHandle" in operation.type for operation in frozen.graph.get_operations()
    )
    assert float(frozen(tf.constant(3.0))[0]) == 6.0


@pytest.mark.parametrize("jit_compile", [True, False])
def test_is_traced_for_xla_in_nested_functions(jit_compile):
    found = []

    @tf.function(jit_compile=jit_compile)
    def outer(x):
        @tf.function
        def inner(x):
            found.append(keras_compat.is_traced_for_xla())
            return x + 1

        return inner(x)

    outer(tf.constant(1.0))
    assert found == [jit_compile]


def test_registered_gradients_includes_custom_gradients():
    @tf.custom_gradient
    def doubled(x):
        return 2 * x, lambda upstream: 2 * upstream

    before = {*keras_compat.registered_gradients()}
    tf.function(doubled).get_concrete_function(tf.TensorSpec((), tf.float32))
    new = [each for name, each in keras_compat.registered_gradients().items() if name not in before]
    assert new
    assert all(callable(each["type"]) for each in new)


def test_set_cardinality_changes_steps_of_dataset():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    dataset = strategy.distribute_datasets_from_function(lambda _: tf.data.Dataset.range(6))
    assert int(dataset.cardinality) == 6
    keras_compat.set_cardinality(dataset, 3)
    assert int(dataset.cardinality) == 3


def test_is_operation_finds_tensorflow_operations():
    assert keras_compat.is_operation("MatMul")
    assert not keras_compat.is_operation("__inference_call_12")


def test_is_tensorflow_started_after_first_operation():
    assert tf.zeros(1) is not None
    assert keras_compat.is_tensorflow_started()
    script = """import sys
from tfhub_ft.utils.keras_compat import is_tensorflow_started
print("false" if "tensorflow" in sys.modules or is_tensorflow_started() else "true")"""
    assert run(script) is True


@pytest.mark.parametrize("kind", [InputError, ValueError])
def test_one_line_error_stays_one_line_in_layers(kind):
    class Failing(keras.layers.Layer):
        def call(self, inputs):
            raise kind("wrong")

    with pytest.raises(kind) as caught:
        Failing()(np.zeros(1))
    assert (str(caught.value) == "wrong") == (kind is InputError)


def test_private_apis_are_used_in_keras_compat_only():
    private = re.compile(
        r"keras\.src|keras_hub\.src|tensorflow\.python|tf\.__internal__|\._(flatten_layers|tracker|untrack_variable|"
        r"keras_history|inbound_nodes|nodes_by_depth|loss_tracker|symbolic_build|cardinality|use_weight_decay|"
        r"kernel|self_attention_layernorm|set_vocabulary_and_merges_tf|tokenize_tf)\b"
    )
    for path in SOURCES.rglob("*.py"):
        if path.name != "keras_compat.py":
            assert not private.findall(path.read_text(encoding="utf-8")), path
