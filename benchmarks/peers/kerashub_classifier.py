"""Peer: KerasHub's BertTextClassifier with the weights of the checkpoint, `fit` on raw texts padded to one length.

python kerashub_classifier.py --model MODEL --train train.csv --validation validation.csv --seq-length 64
"""

from side import Clock, Steps, finish, read_rows  # isort: skip  the clock starts first

import argparse
import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import keras_hub
import numpy as np
from keras_training import NOT_DECAYED, add_training_options, warmup_linear_decay

PACKAGES = ("keras", "keras-hub", "tensorflow", "numpy")


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, peak, steps):
        self.peak, self.steps = peak, steps

    def __call__(self, step):
        return warmup_linear_decay(step, self.peak, self.steps)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps}


def build_model(args, steps):
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor.from_preset(
        str(args.model), sequence_length=args.seq_length
    )
    backbone = keras_hub.models.BertBackbone.from_preset(str(args.model))
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor, dropout=0.1)
    optimizer = keras.optimizers.AdamW(Schedule(args.learning_rate, steps), weight_decay=0.01, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    add_training_options(parser)
    args, clock, steps = parser.parse_args(), Clock(), Steps()
    clock.lap("imports")
    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if args.precision == "bfloat16" else "float32")
    (texts, labels), (held_out, truth) = read_rows(args.train), read_rows(args.validation)
    model = build_model(args, steps=-(-len(texts) // args.batch_size) * args.epochs)
    clock.lap("load")
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs=None: steps.done())
    model.fit(
        np.array(texts),
        np.array(labels),
        batch_size=args.batch_size,
        epochs=args.epochs,
        verbose=0,
        callbacks=[callback],
    )
    clock.lap("train")
    logits = model.predict(np.array(held_out), batch_size=args.batch_size, verbose=0)
    clock.lap("evaluate")
    finish(
        clock,
        PACKAGES,
        rows_per_second=steps.rows_per_second(args.batch_size),
        validation_accuracy=float((logits.argmax(-1) == truth).mean()),
    )


if __name__ == "__main__":
    main()
