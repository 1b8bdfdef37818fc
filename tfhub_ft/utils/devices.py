"""Where a machine with GPUs computes what, and how precisely."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

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
