"""The memory of the workers' processes: the C library's heap, kept from one image to the next, and Python's objects.

A decoder allocates megabytes for an image and frees them after it. glibc hands such a block back to the system at
once, and each page of the next one is a page fault and 4 kB of zeros: a quarter of the time of decoding a progressive
JPEG, whose coefficients are held whole. A worker keeps the memory, which was granted to it anyway, until it has to
give it back. Other C libraries do as they like.

What is read in bands is the other way round: libvips's rows come and go, are soon used again, and there is no memory
to keep them in.

Python's objects are shared by all workers from the fork server on, as long as no process writes to them; a collection
of garbage writes to whatever it looks at.
"""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# mallopt(3), malloc_trim(3), and glibc's defaults
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_NEVER = -1
_TRIM_BYTES, _MMAP_MAX = 128 << 10, 65536
_MMAP_BYTES = 64 << 10  # left to itself, glibc would raise it with libvips's rows, and keep three times the memory


def keep() -> None:
    """From now on freed memory stays with this process."""
    set_option = _function("mallopt")
    if set_option:
        set_option(_M_MMAP_MAX, 0)
        set_option(_M_TRIM_THRESHOLD, _NEVER)


@contextmanager
def returned() -> Iterator[None]:
    """While the block runs, memory goes back to the system when it is freed, and what was kept goes now."""
    set_option = _function("mallopt")
    if set_option:
        set_option(_M_MMAP_MAX, _MMAP_MAX)
        set_option(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        set_option(_M_TRIM_THRESHOLD, _TRIM_BYTES)
    give_back()
    try:
        yield
    finally:
        keep()


def give_back() -> None:
    """Hand free memory back to the system."""
    trim = _function("malloc_trim")
    if trim:
        trim(ctypes.c_size_t(0))


def import_much() -> None:
    """Until `share_objects`, no garbage is looked for: what is imported stays, and is more each time."""
    gc.disable()


def share_objects() -> None:
    """What there is now is for the processes that are forked from now on: no collection in them touches it."""
    gc.enable()
    gc.freeze()


def _function(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
