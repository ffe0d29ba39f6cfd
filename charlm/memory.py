"""Giving memory back that is free in this process, and that the allocator would keep."""

import ctypes
import sys


def give_back() -> None:
    """Return free memory to the system (glibc's malloc_trim); elsewhere nothing.

    Texts, plots and tensors come and go in dozens of threads, each with a heap of its own: what lies free between them
    grew by half a megabyte a page.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # musl has none
            trim(0)
