"""Measure and free the memory of this process."""

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

from tfhub_ft.utils.keras_compat import registered_gradients

_lock = threading.Lock()
# The number of active contexts of `release_gradients`, and the gradients registered before the first of them.
_active, _registered_before = 0, frozenset()


def release_memory() -> None:
    """Return freed memory to the system (glibc only); conversions of a model of 90 MB retain 2.5 GB otherwise."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)


@contextlib.contextmanager
def release_gradients() -> Iterator[None]:
    """Unregister the custom gradients of this package that were traced in this context, which frees their graphs.

    TensorFlow never unregisters them: each training run of MiniLM would leak 180 MB. Nothing is removed while another
    thread is in such a context.
    """
    global _active, _registered_before
    registry = registered_gradients()
    with _lock:
        if not _active:
            _registered_before = frozenset(registry)
        _active += 1
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            for name in [] if _active else [*registry]:
                if name not in _registered_before and _is_of_package(registry[name]["type"]):
                    del registry[name]


def _is_of_package(gradient: object, depth: int = 3) -> bool:
    """Return whether a registered gradient calls a function of this package."""
    if not isinstance(gradient, FunctionType):
        return False
    if gradient.__module__.startswith("tfhub_ft."):
        return True
    inner = inspect.getclosurevars(gradient).nonlocals.values() if depth else ()
    return any(_is_of_package(each, depth - 1) for each in inner)


def collect_garbage_rarely() -> None:
    """Run the garbage collector less often, and not at exit: TensorFlow's 800,000 objects cost 1.9 s otherwise."""
    gc.set_threshold(100_000, 10, 10)
    atexit.register(gc.freeze)


def peak_memory() -> int:
    """Return the peak memory of this process in bytes."""
    # On Linux, ru_maxrss includes the parent process before exec; VmHWM does not.
    try:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
