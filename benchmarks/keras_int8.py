"""Compare Keras' int8 quantization with TFLite's, on the matrix products of an encoder.

    python benchmarks/keras_int8.py

The dense layers of the six blocks of minilm-l6 run in sequence on one text of 25 tokens and on 32 texts: as Keras
layers in float32, after `model.quantize("int8")`, and as a TFLite file with dynamic-range int8. Run it on an idle
machine.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from machine import keep

WIDTHS, BLOCKS, TOKENS, RUNS = (1152, 384, 1536, 384), 6, (25, 800), 50


def main():
    figures = {}
    for tokens in TOKENS:
        rows = np.random.default_rng(0).normal(size=(tokens, 384)).astype("float32")
        model = stack()
        calls = {"float32": compiled(model), "tflite_dynamic": lite(model)}
        times = {name: p50(call, rows) for name, call in calls.items()}
        model.quantize("int8")
        figures[f"{tokens}_tokens_p50_ms"] = times | {"keras_int8": p50(compiled(model), rows)}
    keep("keras_int8", figures)


def stack():
    inputs = x = keras.Input((384,))
    for width in WIDTHS * BLOCKS:
        # The next layer reads the query, the first third of the fused projection.
        x = keras.layers.Dense(width)(x[:, :384] if x.shape[-1] == 1152 else x)
    return keras.Model(inputs, x)


def compiled(model):
    return tf.function(lambda rows: model(rows, training=False), autograph=False)


def lite(model):
    from ai_edge_litert.interpreter import Interpreter

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    interpreter = Interpreter(model_content=converter.convert(), num_threads=os.cpu_count())
    place = interpreter.get_input_details()[0]["index"]

    def call(rows):
        interpreter.resize_tensor_input(place, rows.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place, rows)
        interpreter.invoke()

    return call


def p50(call, rows):
    for _ in range(5):
        call(rows)
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        np.asarray(call(rows))
        seconds.append(time.perf_counter() - began)
    return round(1000 * statistics.median(seconds), 3)


if __name__ == "__main__":
    main()
