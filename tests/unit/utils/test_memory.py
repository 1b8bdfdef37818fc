import gc
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
import tensorflow as tf

from tfhub_ft.encoders import HubEncoder
from tfhub_ft.utils.memory import release_gradients

SCRIPT = """
import atexit, gc

atexit.register(lambda: print(gc.get_freeze_count() > 1000))
from tfhub_ft.utils.memory import collect_garbage_rarely

before = gc.get_threshold()[0]
collect_garbage_rarely()
print(gc.isenabled(), gc.get_threshold()[0] > before, gc.get_freeze_count())
"""


def test_collect_garbage_rarely_changes_the_collector():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "0", "True"]


@pytest.fixture
def traced(tiny_pair):
    """A function that traces an encoder's gradient and returns a weak reference to its graph."""
    encoder = HubEncoder(tiny_pair)
    tokens = {name: np.ones((2, 8), "int32") for name in ("input_word_ids", "input_mask", "input_type_ids")}

    def trace():
        @tf.function
        def step(tokens):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(encoder(tokens, training=True)["pooled_output"])
            return tape.gradient(loss, encoder.trainable_weights[0].value)

        return weakref.ref(step.get_concrete_function(tokens).graph)

    return trace


def is_freed(graph):
    gc.collect()
    return graph() is None


def test_release_gradients_frees_graphs_of_this_package(traced):
    traced_before = traced()
    with release_gradients():
        graph = traced()
        assert not is_freed(graph)
    assert is_freed(graph)
    # Gradients that were traced before remain registered.
    assert not is_freed(traced_before)


def test_release_gradients_waits_for_other_threads(traced):
    outer, inner = release_gradients(), release_gradients()
    with outer:
        graph = traced()
        thread = threading.Thread(target=lambda: inner.__enter__() or inner.__exit__(None, None, None))
        thread.start()
        thread.join()
        assert not is_freed(graph)
    assert is_freed(graph)


def test_release_gradients_keeps_other_gradients():
    @tf.custom_gradient
    def doubled(x):
        return 2 * x, lambda upstream: 2 * upstream

    with release_gradients():
        forward = tf.function(lambda x: doubled(x)).get_concrete_function(tf.TensorSpec((), tf.float32))
    x = tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = forward(x)
    assert float(tape.gradient(y, x)) == 2.0
