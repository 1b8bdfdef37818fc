"""Memory that conversions leave behind."""

import ctypes
import gc
import sys


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
