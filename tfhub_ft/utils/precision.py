"""Compute dtypes, seeds and memory allocation."""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.utils.devices import tensor_float_32
from tfhub_ft.utils.keras_compat import flatten_layers

if TYPE_CHECKING:
    import keras

# Ampere, the first GPU architecture with bfloat16.
FIRST_WITH_BFLOAT16 = (8, 0)
# M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD: allocate on the heap, never shrink it, grow it by 256 MB.
MALLOPT = ((-4, 0), (-1, 2**31 - 1), (-2, 2**28))


def resolve_precision(precision: str) -> str:
    """Return float32, bfloat16 or float16; "auto" is bfloat16 where the CPU or all GPUs are fast at it."""
    if precision != "auto":
        return precision
    import tensorflow as tf

    if gpus := tf.config.list_physical_devices("GPU"):
        capable = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0,)) for gpu in gpus]
        return "bfloat16" if min(capable) >= FIRST_WITH_BFLOAT16 else "float32"
    if tf.config.list_physical_devices("TPU"):
        return "bfloat16"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "float32"
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def dtype_policy(precision: str) -> str:
    """Return the name of the Keras dtype policy with this compute dtype and float32 variables."""
    return "float32" if precision == "float32" else f"mixed_{precision}"


@contextlib.contextmanager
def matrix_products_in(precision: str, network: "keras.Model") -> Iterator[None]:
    """Compute the matrix products of a network in a dtype within this context, in which its functions must be traced.

    Variables are float32. Native encoders and language models follow Keras' dtype policy. The dtypes of a SavedModel's
    graph are changed by TensorFlow's graph rewriter, which keeps sums, norms and losses in float32 and lacks bfloat16
    for GPUs (they use TF32). With "float32" no GPU uses TF32.

    Reference:
        Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740; https://keras.io/api/mixed_precision/policy/
    """
    with contextlib.ExitStack() as contexts:
        for layer in flatten_layers(network):
            if hasattr(layer, "compute_in"):
                contexts.enter_context(layer.compute_in(precision))
        contexts.enter_context(tensor_float_32(allowed=precision != "float32"))
        yield


@contextlib.contextmanager
def layer_precision(layer: "keras.layers.Layer", precision: str) -> Iterator[None]:
    """Set the compute dtype of a layer within this context."""
    before = layer.dtype_policy
    layer.dtype_policy = dtype_policy(precision)
    try:
        yield
    finally:
        layer.dtype_policy = before


@contextlib.contextmanager
def rewritten_graphs(precision: str) -> Iterator[None]:
    """Let TensorFlow rewrite graphs within this context to compute their matrix products in a dtype."""
    import tensorflow as tf

    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    options = {
        "auto_mixed_precision_onednn_bfloat16": precision == "bfloat16" and not on_gpu,
        "auto_mixed_precision": precision == "float16" and on_gpu,
    }
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(options)
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before.get(name, False) for name in options})


def seed_everything(seed: int) -> None:
    """Seed all random generators, and make the operations of GPUs deterministic.

    Reference:
        https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_op_determinism
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def keep_freed_memory() -> None:
    """Make glibc keep the memory that TensorFlow frees in each step, up to the peak of the process.

    Reference:
        https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for parameter, value in MALLOPT:
            mallopt(parameter, value)
