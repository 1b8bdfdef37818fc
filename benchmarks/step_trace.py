"""Trace training steps: time until the first step, its operations, and whether it waits for input.

    python benchmarks/step_trace.py --data-dir DATA

Two encoders, the native one and the SavedModel's graph, take turns for 5 rounds of 80 steps on SST-2, with the
defaults of `sentiment`. TensorFlow's profiler traces 10 steps; --trace DIR keeps the first trace for TensorBoard or
Perfetto. Run it on an idle machine.
"""

import argparse
import collections
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import keep

ROUNDS, STEPS, TRACED, FIRST_TRACED = 5, 80, 10, 30
IMPLEMENTATIONS = ("native", "graph")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--trace", type=Path, help="folder to write a trace to")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--alone", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    if options.alone:
        print(json.dumps(measured(options.alone, Path(options.data_dir), options.trace)))
        return
    rounds = {name: [] for name in IMPLEMENTATIONS}
    for number in range(options.rounds):
        for name in IMPLEMENTATIONS:
            kept = ["--trace", str(options.trace / name)] if options.trace and not number else []
            command = [sys.executable, __file__, "--data-dir", str(options.data_dir), "--alone", name, *kept]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rounds[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(name, rounds[name][-1]["step_ms"], file=sys.stderr, flush=True)
    medians = {name: median_of(each) for name, each in rounds.items()}
    speedup = medians["graph"]["step_ms"] / medians["native"]["step_ms"]
    keep("step_trace", {"steps": STEPS, "native_is_faster_by": round(speedup, 3), "medians": medians, "rounds": rounds})


def median_of(rounds):
    """Return the medians of the numbers of all rounds, in nested dictionaries."""
    first = rounds[0]
    if isinstance(first, dict):
        return {name: median_of([each[name] for each in rounds if name in each]) for name in first}
    return round(statistics.median(rounds), 3)


def measured(implementation, data_dir, trace):
    began = time.perf_counter()
    import keras
    import tensorflow as tf

    from tfhub_ft.data.datasets import load_dataset
    from tfhub_ft.recipe import load_recipe
    from tfhub_ft.training.trainer import make_trainer
    from tfhub_ft.utils.precision import matrix_products_in

    seconds = {"imports": time.perf_counter() - began}
    recipe = load_recipe("sentiment")
    files = {name: str(data_dir / "sst2" / f"{name}.csv") for name in ("train", "validation")}
    settings = recipe.settings.replaced({**files, "implementation": implementation})
    began = time.perf_counter()
    dataset = load_dataset(recipe.task, settings, recipe.demo)
    trainer = make_trainer(recipe, settings, dataset, given=("epochs",))
    seconds["rows, encoder and tokens"] = time.perf_counter() - began
    batches = trainer.batches()
    trainer.restrict_vocabulary()
    with tempfile.TemporaryDirectory() as folder, matrix_products_in(trainer.precision, trainer.network):
        began = time.perf_counter()
        learner = trainer.compiled(total_steps=len(batches))
        steps = Steps(trace or Path(folder))
        learner.fit(batches.dataset().take(STEPS), callbacks=[callback(keras, tf, steps)], shuffle=False, verbose=0)
        seconds["tracing and the first step"] = steps.ends[0] - began
        parts = parts_of(steps.folder)
    untraced = [b - a for a, b in zip(steps.ends, steps.ends[1:FIRST_TRACED])]
    return {
        "seconds_to_first_step": {name: round(value, 2) for name, value in seconds.items()},
        "step_ms": round(1000 * statistics.mean(untraced[5:]), 1),
        "traced_ms_a_step": {name: round(value, 2) for name, value in parts.items()},
    }


class Steps:
    """Record when steps end, and trace some of them."""

    def __init__(self, folder):
        self.folder, self.ends = folder, []


def callback(keras, tf, steps):
    def begin(number, logs=None):
        if number == FIRST_TRACED:
            tf.profiler.experimental.start(str(steps.folder))

    def end(number, logs=None):
        steps.ends.append(time.perf_counter())
        if number == FIRST_TRACED + TRACED - 1:
            tf.profiler.experimental.stop()

    return keras.callbacks.LambdaCallback(on_train_batch_begin=begin, on_train_batch_end=end)


def parts_of(folder):
    """Return milliseconds per step of the traced operations, by kind; operations run concurrently."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    found = collections.Counter()
    for file in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace()
        space.ParseFromString(file.read_bytes())
        for plane in space.planes:
            for line in plane.lines:
                for event in line.events:
                    kind = kind_of(plane.event_metadata[event.metadata_id].name)
                    if kind:
                        found[kind] += event.duration_ps / 1e9 / TRACED
    return dict(found.most_common())


def kind_of(name):
    """Return the kind of an event of a trace, which names operations `path/name:Kind`."""
    path, _, operation = name.rpartition(":")
    if "IteratorGetNext" in name:
        return "waiting for input"
    if not path or "::" in name or "EagerLocalExecute" in name:
        return None
    if "fused_adam_w" in path:
        return "optimizer"
    kinds = (
        ("MatMul", "matrix products"),
        ("Einsum", "matrix products"),
        ("Random", "random numbers of dropout"),
        ("Softmax", "softmax"),
    )
    return next((kind for part, kind in kinds if part in operation), "everything else, element by element")


if __name__ == "__main__":
    main()
