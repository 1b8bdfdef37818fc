"""Where a machine with GPUs computes what, and how precisely."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Of a process beside this one: the GPUs' memory is this one's, and on the CPU float32 is float32.
QUIET_AND_ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def pin_to_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose operations stay on the processor, as those of strings do.

    Next to strings a GPU would take the operations of numbers alone, and each would wait for a copy of its numbers.

    Example:
        @pin_to_cpu
        def word_counts(texts):
            return tf.strings.split(texts).row_lengths()
    """

    @functools.wraps(function)
    def placed(*args: Any, **kwargs: Any) -> Any:
        import tensorflow as tf

        with tf.device("CPU:0"):
            return function(*args, **kwargs)

    return placed


@contextlib.contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Within this context a GPU may, or may not, round the factors of float32 products to 10 bits of mantissa.

    TensorFlow lets it by default, with relative errors of 1e-3. What the caller forbids stays forbidden.

    Reference:
        https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_tensor_float_32_execution
    """
    from tensorflow import config

    before = config.experimental.tensor_float_32_execution_enabled()
    config.experimental.enable_tensor_float_32_execution(before and allowed)
    try:
        yield
    finally:
        config.experimental.enable_tensor_float_32_execution(before)


def workers_of(strategy: Any) -> int:
    """How many processes train together."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    spec = strategy.cluster_resolver.cluster_spec()
    return sum(spec.num_tasks(job) for job in ("chief", "worker") if job in spec.jobs) or 1


def sum_over_workers(strategy: Any, numbers: Any) -> "np.ndarray":
    """The sums of numbers that each process has, float32 of their shape. All processes must call it, and wait here.

    Args:
        strategy: of the training.
        numbers: of this process, of any shape.
    """
    import numpy as np
    import tensorflow as tf

    if workers_of(strategy) == 1:
        return np.asarray(numbers, "float32")

    def of_replica(context: Any) -> tf.Tensor:
        # Of a process with several replicas the first one speaks.
        local = strategy.num_replicas_in_sync // workers_of(strategy)
        return tf.constant(numbers, "float32") * (context.replica_id_in_sync_group % local == 0)

    values = strategy.experimental_distribute_values_from_function(of_replica)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()
