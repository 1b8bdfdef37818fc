"""Device placement, TensorFloat-32, and sums over workers."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

P = ParamSpec("P")
T = TypeVar("T")

# Environment of child processes: this process uses the memory of the GPUs, and the CPU computes true float32.
QUIET_AND_ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def pin_to_cpu(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that its operations run on the CPU.

    String operations run there anyway; numeric ones between them would copy their operands to a GPU and back.
    """

    @functools.wraps(function)
    def on_cpu(*args: P.args, **kwargs: P.kwargs) -> T:
        import tensorflow as tf

        with tf.device("CPU:0"):
            return function(*args, **kwargs)

    return on_cpu


@contextlib.contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Allow or forbid GPUs to multiply float32 in TensorFloat-32, with relative errors of 1e-3; an outer ban holds.

    Reference:
        https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_tensor_float_32_execution
    """
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(before and allowed)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def workers_of(strategy: "tf.distribute.Strategy") -> int:
    """Return the number of worker processes of a strategy."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    spec = strategy.cluster_resolver.cluster_spec()
    return sum(spec.num_tasks(job) for job in ("chief", "worker") if job in spec.jobs) or 1


def sum_over_workers(strategy: "tf.distribute.Strategy", numbers: "np.ndarray | Sequence[float]") -> "np.ndarray":
    """Return the float32 sum of the arrays of all workers, each of which must call this function."""
    import numpy as np
    import tensorflow as tf

    if workers_of(strategy) == 1:
        return np.asarray(numbers, "float32")

    def value_of_replica(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        # The first replica of each worker contributes.
        local = strategy.num_replicas_in_sync // workers_of(strategy)
        return tf.constant(numbers, "float32") * (context.replica_id_in_sync_group % local == 0)

    values = strategy.experimental_distribute_values_from_function(value_of_replica)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()
