"""Memory: how much the process holds, what conversions leave behind, and how often garbage is looked for."""

import atexit
import ctypes
import gc
import sys
from pathlib import Path


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
