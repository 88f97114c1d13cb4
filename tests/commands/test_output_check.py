"""An output is checked where it lies, in bounded memory, and a store that fails is no damage."""

import threading

import numpy as np
import pytest
from harness import gradient

from batchgray.codecs import encoding, outputs
from batchgray.commands import output_check
from batchgray.manifest.records import Image
from batchgray.storage import integrity
from batchgray.storage.base import Unreachable
from batchgray.storage.memory import MemoryPlace

PIXELS = np.ascontiguousarray(gradient(200, 150)[..., 0])
DATA = b"".join(encoding.encode_jpeg(PIXELS.data, 200, 150, 75))


class Failing(MemoryPlace):
    """The request of this number is not answered."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def get(self, key, version=None, start=0, end=None) -> bytes:
        self.left -= 1
        if self.left == 0:
            raise Unreachable(key, "no answer")
        return super().get(key, version, start, end)


def image_of(data: bytes) -> Image:
    return Image(
        root=0,
        source="a.png",
        output="a.jpg",
        state="done",
        size=1,
        mtime_ns=0,
        output_size=len(data),
        checksum=integrity.checksum([data]),
    )


@pytest.fixture(params=["whole", "in pieces"])
def size(request, monkeypatch):
    if request.param == "in pieces":
        monkeypatch.setattr(outputs, "LONGEST_WHOLE", 100)
        monkeypatch.setattr(output_check, "_PIECE", 256)


def fault(place, data=DATA):
    return output_check.fault_in_place(place, image_of(data))


def test_an_output_in_a_place(size):
    place = MemoryPlace()
    assert fault(place) == "missing"
    place.put("a.jpg", DATA)
    assert fault(place) is None
    place.put("a.jpg", DATA + b"x")
    assert fault(place) == f"{len(DATA) + 1} bytes instead of {len(DATA)}"
    place.put("a.jpg", DATA[:-1])
    assert fault(place) == f"{len(DATA) - 1} bytes instead of {len(DATA)}"
    place.put("a.jpg", DATA[:-3] + b"x" + DATA[-2:])
    assert fault(place) == "its checksum is another"
    cut = DATA[: len(DATA) // 2]
    place.put("a.jpg", cut)
    assert "does not decode" in fault(place, cut)


def test_a_store_that_fails_says_nothing_of_the_output(size):
    asked = Failing(0)
    asked.put("a.jpg", DATA)
    assert fault(asked) is None
    for number in range(1, 1 - asked.left):
        place = Failing(number)
        place.put("a.jpg", DATA)
        with pytest.raises(Unreachable):
            fault(place)


def test_what_is_read_at_a_time_is_bounded():
    bounded = output_check._Bounded(10)
    seen, inside = [], threading.Barrier(2)

    def third():
        with bounded.taking(99):  # more than all there is: alone
            seen.append("third")

    def second():
        with bounded.taking(5):
            inside.wait()
            inside.wait()
            seen.append("second")

    threads = [threading.Thread(target=second)]
    with bounded.taking(5):
        threads[0].start()
        inside.wait()
        threads.append(threading.Thread(target=third))
        threads[1].start()
        seen.append("first")
        inside.wait()
    for thread in threads:
        thread.join()
    assert seen == ["first", "second", "third"]
