"""Measure the cost of several replicas: seconds per step, gradient exchange, and an estimate for many replicas.

python benchmarks/scaling.py --data-dir DATA

The same 32 rows per step are trained by 1, 2 and 4 replicas on this machine: in one process, in the processes of
`tfhub-ft launch`, and on logical devices of one process. The replicas share the cores, so more replicas cannot be
faster here: the additional time is the cost of distributing a step. The gradient exchange is also measured separately.
The estimate is for replicas that each have a machine like this one and their own 32 rows per step:

    step(n) = step(1) + 2 (n - 1) / n * bytes of gradients / bytes per second of the exchange + 2 (n - 1) * latency

for a ring all-reduce (Patarasuk & Yuan 2009, https://doi.org/10.1016/j.jpdc.2008.09.002).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from machine import keep

STEPS, EXCHANGES, TINY = 24, 6, 8
SETTINGS = {"epochs": 1, "batch_size": 32, "seq_length": 128}
REPLICAS = (8, 64, 512)
# Typical bytes per second and milliseconds of latency of such networks, not measured.
NETWORKS = {"10 Gbit/s, 0.05 ms a hop": (1.25e9, 0.05), "100 Gbit/s, 0.01 ms a hop": (12.5e9, 0.01)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"), required="TFHUB_FT_DATA" not in os.environ
    )
    parser.add_argument("--replica", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.replica:
        print("RESULT", json.dumps(measured(options.data_dir, *json.loads(options.replica))))
        return
    found = {name: run(options.data_dir, *how) for name, how in WAYS.items()}
    keep("scaling", {"rows_a_step": SETTINGS["batch_size"], "ways": found, "estimate": estimate(found)})


# Number of processes, and of logical devices in each.
WAYS = {"one": (1, 1), "two_workers": (2, 1), "four_workers": (4, 1), "two_devices": (1, 2), "four_devices": (1, 4)}


def run(data_dir, processes, devices):
    ports = [free_port() for _ in range(processes)]
    addresses = [f"localhost:{port}" for port in ports]
    started = []
    for number in range(processes):
        described = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        cluster = {"TF_CONFIG": json.dumps(described)} if processes > 1 else {}
        command = [sys.executable, __file__, "--data-dir", str(data_dir), "--replica", json.dumps([processes, devices])]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **cluster}))
    printed = [process.communicate()[0] for process in started]
    return json.loads(printed[0].rsplit("RESULT ", 1)[1])


def free_port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def measured(data_dir, processes, devices):
    """Return the median seconds of a step and of the all-reduce of the gradients."""
    import tensorflow as tf

    if devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    import keras

    from tfhub_ft.data.datasets import load_dataset
    from tfhub_ft.recipe import load_recipe
    from tfhub_ft.training.distribution import distribute_batches
    from tfhub_ft.training.trainer import make_trainer
    from tfhub_ft.utils.devices import sum_over_workers
    from tfhub_ft.utils.precision import matrix_products_in

    name = "multi-worker" if processes > 1 else "mirrored" if devices > 1 else "one"
    recipe = load_recipe("sentiment")
    files = {split: str(data_dir / "sst2" / f"{split}.csv") for split in ("train", "validation")}
    settings = recipe.settings.replaced({**SETTINGS, **files, "strategy": name})
    dataset = load_dataset(recipe.task, settings, recipe.demo)
    trainer = make_trainer(recipe, settings, dataset, given=("epochs",))
    trainer.restrict_vocabulary()
    batches = trainer.batches()
    ends = []

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            ends.append(time.perf_counter())
            self.model.stop_training = len(ends) > STEPS

    with matrix_products_in(trainer.precision, trainer.network):
        learner = trainer.compiled(total_steps=len(batches))
        if trainer.strategy.num_replicas_in_sync > 1:
            learner.build_for(batches.some())
        learner.fit(
            distribute_batches(trainer.strategy, partial(batches.dataset, 0)),
            callbacks=[Stop()],
            shuffle=False,
            verbose=0,
        )
    weights = sum(int(np.prod(weight.shape)) for weight in learner.trainable_weights)
    return {
        "processes": processes,
        "devices_of_each": devices,
        "step_ms": 1e3 * float(np.median(np.diff(ends))),
        "gradient_mb": 4 * weights / 2**20,
        "exchange_ms": exchange_ms(trainer.strategy, weights, sum_over_workers) if processes > 1 else 0.0,
        "latency_ms": exchange_ms(trainer.strategy, TINY, sum_over_workers) if processes > 1 else 0.0,
    }


def exchange_ms(strategy, count, sum_over_workers):
    numbers, seconds = np.ones(count, "float32"), []
    for _ in range(EXCHANGES):
        began = time.perf_counter()
        sum_over_workers(strategy, numbers)
        seconds.append(time.perf_counter() - began)
    return 1e3 * float(np.median(seconds[1:]))


def estimate(ways):
    """Return step time and efficiency of many replicas, for the exchange measured here and for two networks."""
    alone, two, four = (ways[name] for name in ("one", "two_workers", "four_workers"))
    size = alone["gradient_mb"] * 2**20
    # Two and four workers differ by four hops; the call itself is the same.
    hop = max(four["latency_ms"] - two["latency_ms"], 0) / 4
    here = (size / ((two["exchange_ms"] - two["latency_ms"]) / 1e3), hop)
    found = {}
    for network, (speed, hop_ms) in {"as measured here": here, **NETWORKS}.items():
        for replicas in REPLICAS:
            passed = 1e3 * 2 * (replicas - 1) / replicas * size / speed
            step = alone["step_ms"] + passed + 2 * (replicas - 1) * hop_ms
            found.setdefault(network, {})[replicas] = {
                "step_ms": round(step, 1),
                "efficiency": round(alone["step_ms"] / step, 3),
            }
    return found


if __name__ == "__main__":
    main()
