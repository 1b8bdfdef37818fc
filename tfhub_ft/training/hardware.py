"""What this machine's processors are good at, and how TensorFlow is set up for it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def resolve_precision(precision: str) -> str:
    """float32 or bfloat16: `auto` is bfloat16 where the processor has instructions for its matrix products."""
    if precision != "auto":
        return precision
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "float32"
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


@contextlib.contextmanager
def matrix_products_in(precision: str) -> Iterator[None]:
    """Within this context new TensorFlow functions compute matrix products in `precision`, "float32" or "bfloat16".

    A SavedModel's types are fixed, so this is done by TensorFlow's graph rewriter, which leaves sums, norms, losses
    and the weights in float32.
    """
    import tensorflow as tf

    options = {"auto_mixed_precision_onednn_bfloat16": precision == "bfloat16"}
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(options)
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({name: before.get(name, False) for name in options})


def build_strategy(name: str) -> Any:
    """The tf.distribute strategy called `one` or `mirrored`."""
    import tensorflow as tf

    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()
