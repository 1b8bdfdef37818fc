"""Distribution strategies: one device, all GPUs of a machine, several machines, or a TPU."""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfhub_ft.settings import NO_PARAMETER_SERVERS, STRATEGIES, TrainingSettings
from tfhub_ft.utils.console import log, quiet
from tfhub_ft.utils.devices import sum_over_workers, workers_of
from tfhub_ft.utils.errors import InputError, first_line
from tfhub_ft.utils.keras_compat import set_cardinality
from tfhub_ft.utils.precision import keep_freed_memory, seed_everything
from tfhub_ft.utils.processes import check_not_forked

if TYPE_CHECKING:
    from pathlib import Path

    import tensorflow as tf

NO_CLUSTER = (
    "--strategy multi-worker: TF_CONFIG not set; set it, start this process with SLURM's srun, or start all workers"
    " with `tfhub-ft launch --workers N -- train ...`"
)
TPU_TIMEOUT_SECONDS = 10


def start_strategy(settings: TrainingSettings) -> "tf.distribute.Strategy":
    """Return the strategy of a training run, with TensorFlow seeded; nothing may use TensorFlow before."""
    check_not_forked("a training run")
    keep_freed_memory()
    strategy = build_strategy(settings.strategy)
    seed_everything(settings.seed)
    return strategy


def build_strategy(name: str) -> "tf.distribute.Strategy":
    """Return the strategy that the setting `strategy` names; "one" is the current strategy."""
    import tensorflow as tf

    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multi-worker":
        return _multi_worker()
    if name.partition(":")[0] == "tpu":
        return _tpu(name.partition(":")[2])
    return tf.distribute.get_strategy()


def check_strategy(strategy: object, output_dir: "Path | None") -> None:
    """Raise an InputError for an object that is not a usable strategy, or several workers without a run folder."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.Strategy):
        value = f"{type(strategy).__name__} {strategy!r}"
        raise InputError(
            f"strategy: expected a name ({', '.join(STRATEGIES)}) or a tf.distribute.Strategy, got {value}"
        )
    if isinstance(strategy, tf.distribute.experimental.ParameterServerStrategy):
        raise InputError(NO_PARAMETER_SERVERS)
    if workers_of(strategy) > 1:
        check_shared_folder(output_dir)


def check_shared_folder(output_dir: "Path | None") -> None:
    """Raise an InputError for several workers without a common run folder."""
    if not output_dir:
        raise InputError("--strategy multi-worker: needs --output-dir, the same for all workers")


def check_same_rows(strategy: "tf.distribute.Strategy", digests: Sequence[str]) -> None:
    """Raise an InputError if workers have different rows in memory, given the digests of those of this worker."""
    workers = workers_of(strategy)
    if workers == 1:
        return
    digest = [*hashlib.sha256("".join(digests).encode()).digest()]
    if (sum_over_workers(strategy, digest) != [workers * byte for byte in digest]).any():
        raise InputError(
            "--strategy multi-worker: the workers have different rows in memory; pass the same rows, in the same order,"
            " to each of them"
        )


def needs_fixed_shapes(strategy: "tf.distribute.Strategy") -> bool:
    """Return whether all batches must have one shape, as on a TPU."""
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.TPUStrategy)


def _multi_worker() -> "tf.distribute.Strategy":
    import tensorflow as tf

    index, workers = _worker_index()
    log(f"Worker {index} of {workers}: waiting for the other workers")
    resolver = None if "TF_CONFIG" in os.environ else tf.distribute.cluster_resolver.SlurmClusterResolver()
    try:
        # The server that it starts logs to the screen.
        with quiet():
            return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError:
        raise InputError(
            "--strategy multi-worker: workers must meet before the process uses TensorFlow; train in a new process"
        ) from None


def _worker_index() -> tuple[int, int]:
    """Return the index of this worker, and the number of workers."""
    if "TF_CONFIG" not in os.environ:
        try:
            return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
        except (KeyError, ValueError):
            raise InputError(NO_CLUSTER) from None
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        cluster, task = config["cluster"], config["task"]
        workers = [(kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, [])))]
        return workers.index((task["type"], int(task["index"]))), len(workers)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            "TF_CONFIG: must describe the workers and this one, such as"
            ' {"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
        ) from None


def _tpu(name: str) -> "tf.distribute.Strategy":
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name or "local")
        _check_reachable(resolver.master())
        if resolver.master():
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        option = f"tpu:{name}" if name else "tpu"
        raise InputError(f"--strategy {option}: TPU not found ({first_line(error)}); check its name") from None


def _check_reachable(address: str) -> None:
    """Raise an OSError where nothing listens, for which TensorFlow would wait forever."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), TPU_TIMEOUT_SECONDS).close()


def is_chief(name: str) -> bool:
    """Return whether this process writes the run folder; `name` is that of the strategy."""
    if name == "multi-worker":
        return _worker_index()[0] == 0
    if "tensorflow" not in sys.modules:
        return True
    import tensorflow as tf

    resolver = getattr(tf.distribute.get_strategy(), "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec().jobs:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def distribute_batches(
    strategy: "tf.distribute.Strategy", make_dataset: "Callable[[range, int], tf.data.Dataset]"
) -> "tf.data.Dataset":
    """Return a dataset that gives each replica its part of each batch.

    `make_dataset` takes the indices of this process' replicas and the number of all replicas; its dataset has one part
    of each batch for each of these replicas, in turn.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return make_dataset(range(1), 1)
    local = replicas // workers_of(strategy)

    def dataset_of_pipeline(context: "tf.distribute.InputContext") -> "tf.data.Dataset":
        first = context.input_pipeline_id * local
        return make_dataset(range(first, first + local), replicas)

    dataset = strategy.distribute_datasets_from_function(dataset_of_pipeline)
    # Keras takes the number of parts for the number of steps: steps past the end would fail, and yet be counted.
    set_cardinality(dataset, dataset.cardinality // local)
    return dataset
