"""Peer: fine-tuning as in TF Hub's BERT tutorial: tf_keras, two hub.KerasLayers, 128 tokens, float32, `fit`.

    python tfhub_tutorial.py --encoder ENCODER --preprocessor PREPROCESSOR --train train.csv --validation validation.csv

ENCODER and PREPROCESSOR are SavedModels; those in tfhub_ft's cache have the initial weights of all sides.
"""

from side import Clock, Steps, finish, read_rows  # isort: skip  the clock starts first

import argparse
import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf
import tensorflow_hub as hub
import tensorflow_text  # noqa: F401  registers operations of the preprocessor
import tf_keras
from keras_training import NOT_DECAYED, add_training_options, warmup_linear_decay

PACKAGES = ("tf-keras", "tensorflow", "tensorflow-hub", "tensorflow-text")


class Schedule(tf_keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, steps):
        self.peak, self.steps = peak, steps

    def __call__(self, step):
        return warmup_linear_decay(step, self.peak, self.steps)


def build_model(args, steps):
    texts = tf_keras.layers.Input((), dtype=tf.string)
    tokens = hub.KerasLayer(args.preprocessor)(texts)
    pooled = hub.KerasLayer(args.encoder, trainable=True)(tokens)["pooled_output"]
    model = tf_keras.Model(texts, tf_keras.layers.Dense(2)(tf_keras.layers.Dropout(0.1)(pooled)))
    optimizer = tf_keras.optimizers.AdamW(Schedule(args.learning_rate, steps), weight_decay=0.01, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    model.compile(optimizer, tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--preprocessor", required=True)
    add_training_options(parser)
    args, clock, steps = parser.parse_args(), Clock(), Steps()
    clock.lap("imports")
    tf_keras.utils.set_random_seed(args.seed)
    train, validation = (tf.data.Dataset.from_tensor_slices(read_rows(path)) for path in (args.train, args.validation))
    model = build_model(args, steps=-(-len(train) // args.batch_size) * args.epochs)
    clock.lap("load")
    train = train.shuffle(len(train), seed=args.seed).batch(args.batch_size).prefetch(tf.data.AUTOTUNE)
    callback = tf_keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs=None: steps.done())
    model.fit(train, epochs=args.epochs, verbose=0, callbacks=[callback])
    clock.lap("train")
    _, accuracy = model.evaluate(validation.batch(args.batch_size), verbose=0)
    clock.lap("evaluate")
    finish(clock, PACKAGES, rows_per_second=steps.rows_per_second(args.batch_size), validation_accuracy=accuracy)


if __name__ == "__main__":
    main()
