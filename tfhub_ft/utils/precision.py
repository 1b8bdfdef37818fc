"""What this machine's processors are good at, and how TensorFlow is set up for it."""

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfhub_ft.utils.devices import tensor_float_32
from tfhub_ft.utils.keras_compat import flatten_layers

if TYPE_CHECKING:
    import keras

# Ampere, the first GPUs with bfloat16.
FIRST_WITH_BFLOAT16 = (8, 0)
# M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD: big buffers come from the heap, which does not shrink and grows by 256 MB.
MALLOPT = ((-4, 0), (-1, 2**31 - 1), (-2, 2**28))


def resolve_precision(precision: str) -> str:
    """float32, bfloat16 or float16: `auto` is bfloat16 where the processor or the GPUs multiply it fast."""
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
    """Keras' name for matrix products in "float32", "bfloat16" or "float16" over weights in float32."""
    return "float32" if precision == "float32" else f"mixed_{precision}"


@contextlib.contextmanager
def matrix_products_in(precision: str, network: "keras.Model") -> Iterator[None]:
    """Within this context a network computes its matrix products in `precision`; what it keeps is float32.

    A native encoder and a language model follow Keras' dtype policy. The types of a SavedModel's graph are fixed:
    TensorFlow's graph rewriter changes them, and leaves sums, norms, losses and the weights in float32. It has no
    bfloat16 for GPUs, which multiply such a graph in TF32 then; in "float32" no GPU rounds to TF32.

    Args:
        precision: "float32", "bfloat16" or "float16".
        network: what is trained or asked; functions of it must be traced within the context.

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
    """Compute a layer's matrix products in `precision` within this context, over weights in float32."""
    before = layer.dtype_policy
    layer.dtype_policy = dtype_policy(precision)
    try:
        yield
    finally:
        layer.dtype_policy = before


@contextlib.contextmanager
def rewritten_graphs(precision: str) -> Iterator[None]:
    """Within this context TensorFlow runs graphs with their matrix products in `precision`."""
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
    """The same random numbers, and on GPUs the same order of every sum, each time that a seed is given.

    A GPU adds up what many threads have in the order in which they come, unless it is told not to.

    Reference:
        https://www.tensorflow.org/api_docs/python/tf/config/experimental/enable_op_determinism
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def keep_freed_memory() -> None:
    """Have glibc keep what TensorFlow frees in each step, instead of giving it back to the kernel and asking again.

    What the process holds is then its peak until it ends. Does nothing where there is no glibc.

    Reference:
        https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for parameter, value in MALLOPT:
            mallopt(parameter, value)
