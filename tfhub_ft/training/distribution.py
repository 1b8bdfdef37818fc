"""Where a training runs: on one device, on all of a machine, on several machines, or on a TPU."""

import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from tfhub_ft.settings import NO_PARAMETER_SERVERS, STRATEGIES, TrainingSettings
from tfhub_ft.utils.console import log, quiet
from tfhub_ft.utils.devices import workers_of
from tfhub_ft.utils.errors import InputError, first_line
from tfhub_ft.utils.keras_compat import set_cardinality
from tfhub_ft.utils.precision import keep_freed_memory, seed_everything
from tfhub_ft.utils.processes import check_not_forked

NO_CLUSTER = (
    "--strategy multi-worker: this process was not told of the others: set TF_CONFIG, start it by SLURM's srun, or"
    " start all of them by `tfhub-ft launch --workers N -- train ...`"
)
SECONDS_TO_ANSWER = 10


def start_strategy(settings: TrainingSettings) -> Any:
    """Return the strategy of a training run, with TensorFlow seeded. Nothing uses TensorFlow before.

    Raises:
        InputError: as `build_strategy`, or this process was forked after TensorFlow was started.
    """
    check_not_forked("a training run")
    keep_freed_memory()
    strategy = build_strategy(settings.strategy)
    seed_everything(settings.seed)
    return strategy


def build_strategy(name: str) -> Any:
    """The tf.distribute strategy of that name; `one` is the one whose scope this is called in.

    Args:
        name: "one"; "mirrored", all GPUs of this machine; "multi-worker", as TF_CONFIG or SLURM describes the workers;
            "tpu", or "tpu:NAME".

    Raises:
        InputError: there is no such cluster or TPU, or TensorFlow was used before the workers have met.

    Reference:
        https://www.tensorflow.org/guide/distributed_training
    """
    import tensorflow as tf

    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multi-worker":
        return _multi_worker()
    if name.partition(":")[0] == "tpu":
        return _tpu(name.partition(":")[2])
    return tf.distribute.get_strategy()


def check_strategy(strategy: Any, output_dir: Any) -> None:
    """Raise an InputError where an object is not a strategy that a training can run in.

    Args:
        strategy: what the caller gave in the place of a name.
        output_dir: the run folder that the caller named, if any.
    """
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.Strategy):
        given = f"{type(strategy).__name__} {strategy!r}"
        raise InputError(
            f"strategy: expected a name ({', '.join(STRATEGIES)}) or a tf.distribute.Strategy, got {given}"
        )
    if isinstance(strategy, tf.distribute.experimental.ParameterServerStrategy):
        raise InputError(NO_PARAMETER_SERVERS)
    if workers_of(strategy) > 1:
        check_shared_folder(output_dir)


def check_shared_folder(output_dir: Any) -> None:
    """Raise an InputError where several workers got no common run folder."""
    if not output_dir:
        raise InputError("--strategy multi-worker needs --output-dir, the same for all workers")


def needs_fixed_shapes(strategy: Any) -> bool:
    """Whether batches must have one shape, as on a TPU."""
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.TPUStrategy)


def _multi_worker() -> Any:
    import tensorflow as tf

    number, workers = _place()
    log(f"Worker {number} of {workers}: waiting for the others")
    resolver = None if "TF_CONFIG" in os.environ else tf.distribute.cluster_resolver.SlurmClusterResolver()
    try:
        # The server that it starts says so on the screen.
        with quiet():
            return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError:
        raise InputError(
            "--strategy multi-worker: workers must meet before a process does anything else with TensorFlow"
        ) from None


def _place() -> tuple[int, int]:
    """The number of this worker, from 0, and how many there are."""
    if "TF_CONFIG" in os.environ:
        return _place_in_tf_config()
    try:
        number, workers = (int(os.environ[name]) for name in ("SLURM_PROCID", "SLURM_NTASKS"))
    except (KeyError, ValueError):
        raise InputError(NO_CLUSTER) from None
    return number, workers


def _place_in_tf_config() -> tuple[int, int]:
    try:
        described = json.loads(os.environ["TF_CONFIG"])
        cluster, task = described["cluster"], described["task"]
        workers = [("chief", number) for number in range(len(cluster.get("chief", [])))]
        workers += [("worker", number) for number in range(len(cluster.get("worker", [])))]
        return workers.index((task["type"], int(task["index"]))), len(workers)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            "TF_CONFIG must describe the workers and this one, such as"
            ' {"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
        ) from None


def _tpu(name: str) -> Any:
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name or "local")
        _check_answers(resolver.master())
        if resolver.master():
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        called = f"tpu:{name}" if name else "tpu"
        raise InputError(f"--strategy {called}: no TPU answers ({first_line(error)})") from None


def _check_answers(address: str) -> None:
    """Raise an OSError where nothing listens, for which TensorFlow would wait without end."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()


def is_chief(name: str) -> bool:
    """Whether this process is the one of its training that writes; `name` as for `build_strategy`."""
    if name == "multi-worker":
        return _place()[0] == 0
    if "tensorflow" not in sys.modules:
        return True
    import tensorflow as tf

    resolver = getattr(tf.distribute.get_strategy(), "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec().jobs:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def shared_out(strategy: Any, make: Callable[[range, int], Any]) -> Any:
    """A dataset that gives each replica its own parts of the batches.

    Args:
        strategy: of the training.
        make: from the numbers of this process' replicas and the count of all to a tf.data.Dataset, which has of every
            batch a part for each of these replicas, one behind the other.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return make(range(1), 1)
    local = replicas // workers_of(strategy)

    def of_pipeline(context: Any) -> Any:
        first = context.input_pipeline_id * local
        return make(range(first, first + local), replicas)

    dataset = strategy.distribute_datasets_from_function(of_pipeline)
    # Keras takes this for the number of steps, and what is the number of parts: past the end a step would fail, and yet
    # count as one that was taken.
    set_cardinality(dataset, dataset.cardinality // local)
    return dataset
