"""Marks of outputs that are to be made anew."""

import os

import pytest

from batchgray.manifest import mending
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.mending import ToMend
from batchgray.options import PixelOptions
from batchgray.storage.memory import MemoryPlace

HEAD = JobHead(job="abc", options=PixelOptions(), max_pixels=10**9, inputs=["/in"], include=[], exclude=[])


def to_mend(name):
    return ToMend(input=0, source=f"{name}.png", output=f"{name}.jpg")


def test_marks_are_there_until_they_are_removed():
    place = MemoryPlace()
    names = ["a", "b", os.fsdecode(b"\xff")]
    assert mending.mark(place, HEAD, map(to_mend, names)) == 3
    assert mending.mark(place, HEAD, []) == 0
    taken = list(mending.marked(place, HEAD))
    assert [each.output for mark in taken for each in mark.outputs] == [f"{name}.jpg" for name in names]
    mending.mark(place, HEAD, [to_mend("c")])
    mending.remove(place, taken)
    assert [mark.outputs for mark in mending.marked(place, HEAD)] == [[to_mend("c")]]


def test_a_long_list_is_many_objects(monkeypatch):
    monkeypatch.setattr(mending, "_OUTPUTS", 2)
    place = MemoryPlace()
    assert mending.mark(place, HEAD, map(to_mend, "abcde")) == 5
    assert sorted(len(mark.outputs) for mark in mending.marked(place, HEAD)) == [1, 2, 2]


def test_a_damaged_mark_is_told_by_its_name():
    place = MemoryPlace()
    mending.mark(place, HEAD, [to_mend("a")])
    (key,) = (entry.key for entry in place.list())
    place.put(key, b"no mark")
    with pytest.raises(mending.DamagedMark, match="mend/"):
        list(mending.marked(place, HEAD))
