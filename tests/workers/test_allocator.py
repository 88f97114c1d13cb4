"""Memory is kept between images, and given back when it is asked for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from batchgray.workers import allocator

PROGRAM = """
import ctypes, resource, sys
import psutil
from batchgray.workers import allocator

SIZE = 64 << 20
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
resident = lambda: psutil.Process().memory_info().rss
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use():
    before = faults()
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(SIZE)))
    ctypes.memset(block, 1, SIZE)
    libc.free(block)
    return faults() - before

allocator.keep()
at_rest = resident()
first, second = use(), use()
kept = resident() - at_rest
allocator.give_back()
print(first, second, kept, resident() - at_rest, SIZE)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_memory_is_kept_until_it_is_given_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    first, second, kept, left, size = map(int, done.stdout.split())
    assert second < first / 10
    assert kept > 0.9 * size
    assert left < 0.1 * size


RETURNING = """
import ctypes, psutil
from batchgray.workers import allocator

SIZE, PIECES = 1 << 20, 64
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
resident = lambda: psutil.Process().memory_info().rss

def use():
    blocks = [ctypes.c_void_p(libc.malloc(ctypes.c_size_t(SIZE))) for _ in range(PIECES)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    for block in blocks[:-1]:
        libc.free(block)
    return blocks[-1]  # what lies behind the others, so that the heap can't simply be cut

allocator.keep()
at_rest = resident()
libc.free(use())
kept = resident() - at_rest
with allocator.returned():
    begun = resident() - at_rest
    last = use()
    inside = resident() - at_rest
libc.free(last)
libc.free(use())
print(kept, begun, inside, resident() - at_rest, SIZE * PIECES)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_for_a_time_memory_goes_back_when_it_is_freed():
    done = subprocess.run([sys.executable, "-c", RETURNING], capture_output=True, text=True, check=True)
    kept, begun, inside, after, size = map(int, done.stdout.split())
    assert kept > 0.9 * size
    assert begun < 0.1 * size
    assert inside < 0.1 * size
    assert after > 0.9 * size


SHARING = """
import gc
from batchgray.workers import allocator

allocator.import_much()
assert not gc.isenabled()
import json
allocator.share_objects()
assert gc.isenabled()
frozen = gc.get_freeze_count()
import decimal
allocator.share_objects()
print(frozen, gc.get_freeze_count(), len(gc.get_objects()))
"""


def test_what_was_imported_is_left_alone_by_collections():
    done = subprocess.run([sys.executable, "-c", SHARING], capture_output=True, text=True, check=True)
    first, second, left = map(int, done.stdout.split())
    assert 0 < first < second
    assert left < first


def test_no_other_module_decides_what_becomes_of_memory_that_is_free():
    own = Path(allocator.__file__)
    others = [path for path in own.parents[1].rglob("*.py") if path != own]
    touching = re.compile(r"import gc\b|\bgc\.[a-z]|mallopt|malloc_trim")
    assert [path.name for path in others if touching.search(path.read_text())] == []
