import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

import tfhub_ft
from tfhub_ft.training import distribution
from tfhub_ft.training.distribution import build_strategy, check_same_rows, is_chief
from tfhub_ft.utils.errors import InputError


def test_train_refuses_objects_that_are_not_strategies(tiny_pair, reviews_csv, tmp_path):
    class Servers(tf.distribute.experimental.ParameterServerStrategy):
        def __init__(self):
            pass

    for strategy, message in ((2, "got int 2"), (None, "got NoneType None"), (Servers(), "not supported by Keras 3")):
        with pytest.raises(InputError, match=f"^[^\n]*{message}[^\n]*$"):
            tfhub_ft.train("sentiment", data=reviews_csv, output_dir=tmp_path / "run", strategy=strategy)
    assert not (tmp_path / "run").exists()


BAD = {
    "nothing set": ({}, "launch --workers N"),
    "no json": ({"TF_CONFIG": "{"}, "TF_CONFIG: must describe"),
    "no task": ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "TF_CONFIG: must describe"),
    "no such task": (
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'},
        "TF_CONFIG: must describe",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_multi_worker_refuses_an_invalid_cluster(monkeypatch, name):
    variables, message = BAD[name]
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=message):
        is_chief("multi-worker")
    with pytest.raises(InputError, match=message):
        build_strategy("multi-worker")


def test_is_chief_reads_slurm_and_tf_config(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert not is_chief("multi-worker")
    cluster = {"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}
    for kind, chief in (("chief", True), ("worker", False)):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": 0}}))
        assert is_chief("multi-worker") == chief


@pytest.mark.parametrize("name", [pytest.param("tpu", marks=pytest.mark.slow), "tpu:grpc://localhost:1"])
def test_build_strategy_names_an_unreachable_tpu(name):
    with pytest.raises(InputError, match=f"--strategy {name}: TPU not found"):
        build_strategy(name)


def test_multi_worker_needs_an_unused_tensorflow(monkeypatch):
    tf.constant(1)
    config = {"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(InputError, match="before the process uses TensorFlow"):
        build_strategy("multi-worker")


def test_check_same_rows_compares_the_rows_of_all_workers(monkeypatch):
    strategy, sums = tf.distribute.get_strategy(), []

    def sum_over_workers(strategy, numbers):
        sums.append(np.array(numbers, "float32"))
        return sum(sums[-3:])

    check_same_rows(strategy, ["0f"])
    assert not sums
    monkeypatch.setattr(distribution, "workers_of", lambda strategy: 3)
    monkeypatch.setattr(distribution, "sum_over_workers", sum_over_workers)
    sums += [np.array([*hashlib.sha256(b"0f").digest()], "float32")] * 2
    check_same_rows(strategy, ["0f"])
    with pytest.raises(InputError, match="the workers have different rows in memory"):
        check_same_rows(strategy, ["0e"])
