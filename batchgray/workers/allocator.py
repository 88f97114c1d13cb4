"""The memory of the workers' processes: the C library's heap, kept from one image to the next, and Python's objects.

A decoder allocates megabytes for an image and frees them after it. glibc hands such a block back to the system at
once, and each page of the next one is a page fault and 4 kB of zeros: a quarter of the time of decoding a progressive
JPEG, whose coefficients are held whole. A worker keeps the memory, which was granted to it anyway, until it has to
give it back. Other C libraries do as they like.

What is read in bands is the other way round: libvips's rows come and go, and are soon used again. Where there is little
memory, there is none to keep them in; else what a part of an image takes is kept until the next part (a page fault for
each page of it would take longer than converting it), and no more.

Python's objects are shared by all workers from the fork server on, as long as no process writes to them; a collection
of garbage writes to whatever it looks at.
"""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# mallopt(3), malloc_trim(3), and glibc's defaults
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
_NEVER = -1
_MMAP_MAX = 65536

# Left to itself, glibc would raise what it keeps with libvips's rows, and keep three times the memory.
LITTLE, MUCH = 64 << 10, 32 << 20


def keep() -> None:
    """From now on freed memory stays with this process."""
    set_option = _function("mallopt")
    if set_option:
        set_option(_M_MMAP_MAX, 0)
        set_option(_M_TRIM_THRESHOLD, _NEVER)
        set_option(_M_ARENA_MAX, 1)  # what one thread has freed, the next one gets


@contextmanager
def returned(above: int = LITTLE) -> Iterator[None]:
    """While the block runs, blocks of more bytes go back to the system when freed, and what was kept goes now."""
    set_option = _function("mallopt")
    if set_option:
        set_option(_M_MMAP_MAX, _MMAP_MAX)
        set_option(_M_MMAP_THRESHOLD, above)
        set_option(_M_TRIM_THRESHOLD, above)
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
