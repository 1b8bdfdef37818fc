"""Memory: how much the process holds, what conversions leave behind, and how often garbage is looked for."""

import atexit
import contextlib
import ctypes
import gc
import inspect
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from tfhub_ft.utils.keras_compat import registered_gradients

_lock = threading.Lock()
# The trainings in progress, and the gradients that were registered before the first of them.
_trainings, _registered_before = 0, frozenset()


def give_back_memory() -> None:
    """Give freed memory back to the system, where the C library is glibc.

    Converting a model makes and frees copies of all its weights, between which small things stay: glibc keeps what they
    held. Of a model of 90 MB that is 2.5 GB a conversion.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)


@contextlib.contextmanager
def gradients_forgotten() -> Iterator[None]:
    """After this context TensorFlow no longer holds the graphs that were traced in it for the gradients of our layers.

    TensorFlow registers each custom gradient of a graph by a name of its own, for good. The gradient holds the graph,
    and the graph the memory of its variables: without this each training of MiniLM leaves 180 MB behind. Nothing is
    removed while another thread trains.
    """
    global _trainings, _registered_before
    registry = registered_gradients()
    with _lock:
        if not _trainings:
            _registered_before = frozenset(registry)
        _trainings += 1
    try:
        yield
    finally:
        with _lock:
            _trainings -= 1
            for name in [] if _trainings else [*registry]:
                if name not in _registered_before and _is_ours(registry[name]["type"]):
                    del registry[name]


def _is_ours(gradient: Any, depth: int = 3) -> bool:
    """Whether a registered gradient calls a function of this package."""
    if not isinstance(gradient, FunctionType):
        return False
    if gradient.__module__.startswith("tfhub_ft."):
        return True
    inner = inspect.getclosurevars(gradient).nonlocals.values() if depth else ()
    return any(_is_ours(each, depth - 1) for each in inner)


def collect_seldom() -> None:
    """In a process of our own, look for cycles of garbage less often, and not at its end.

    Importing TensorFlow makes 800,000 objects that stay. To go through them while they become more takes 0.8 s of 4.1,
    and to go through them once more before the process ends 1.1 s.
    """
    gc.set_threshold(100_000, 10, 10)
    atexit.register(gc.freeze)


def peak_memory() -> int:
    """The most bytes that this process has held so far."""
    # Linux counts what the starting process held into ru_maxrss; VmHWM is this program's own.
    try:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
