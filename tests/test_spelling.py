"""Records hold names of any bytes, and are UTF-8 when they are written."""

import json
import os
from multiprocessing import Pipe
from typing import get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray import events, spelling
from batchgray.manifest.records import Image, Manifest
from batchgray.options import PixelOptions
from batchgray.records import InputVersion, Task
from batchgray.workers.messages import Channel, Convert, ToWorker

NAMES = st.binary(min_size=1, max_size=8).map(os.fsdecode)


def image(source, output="a.jpg"):
    return Image(root=0, source=source, output=output, size=1, mtime_ns=1)


def task(source, output="a.jpg"):
    return Task(index=0, source=source, output=output, version=InputVersion(1, 1))


def summary(**given):
    """One of nothing, but for what is given."""
    needed = [field for field in msgspec.structs.fields(events.Summary) if field.required]
    nothing = {int: 0, float: 0.0, str: "", dict: {}, list: []}
    empty = {field.name: nothing.get(get_origin(field.type) or field.type) for field in needed}
    return events.Summary(**{**empty, **given})


def test_what_is_utf_8_is_written_as_ever():
    written = spelling.to_json(image("图/é\n.png"))
    assert json.loads(written)["source"] == "图/é\n.png"
    assert b"_base64" not in written


def test_a_byte_that_is_not_utf_8_is_escaped_and_the_bytes_stand_beside():
    written = json.loads(spelling.to_json(image("caf\udce9/é.png")))
    assert (written["source"], written["source_base64"]) == ("caf\\xe9/é.png", "Y2Fm6S/DqS5wbmc=")
    assert "output_base64" not in written


@given(NAMES, NAMES, st.lists(NAMES))
def test_every_name_comes_back(source, output, roots):
    document = Manifest(run_id="x", options=PixelOptions(), max_pixels=1, output_root="/", input_roots=roots, images=[])
    for record in (image(source, output), document):
        assert spelling.decoded(msgspec.json.Decoder(type(record)), spelling.to_json(record)) == record


@settings(deadline=None)
@given(NAMES, NAMES)
def test_every_name_goes_through_a_pipe(source, output):
    ours, theirs = Pipe()
    sent = Convert(tasks=[task("plain.png"), task(source, output)], slot_bytes=1, scratch_bytes=1)
    with ours, theirs:
        Channel(ours, ToWorker).send(sent)
        assert Channel(theirs, ToWorker).receive() == sent


def test_names_that_are_keys_are_all_kept():
    failures = {"a\\xff": "1", "a\udcff": "2", "b": "3", "c\udcff": "4"}
    written = json.loads(spelling.to_json(summary(failures=failures)))
    assert written["failures"] == {"a\\xff": "1", "a\\xff (Yf8=)": "2", "b": "3", "c\\xff": "4"}
    assert written["failures_base64"] == {"a\\xff (Yf8=)": "Yf8=", "c\\xff": "Y/8="}
    assert written["notes"] == {}


def test_lists_of_records_and_of_names_are_spelled():
    reasons = [events.Reason(error="e", count=len(names), sources=names) for names in (["a", "b\udcff"], [])]
    written = json.loads(spelling.to_json(summary(reasons=reasons, ignored={".\udcff": 1})))
    assert written["ignored"] == {".\\xff": 1}
    assert written["reasons"] == [
        {"error": "e", "count": 2, "sources": ["a", "b\\xff"], "sources_base64": [None, "Yv8="]},
        {"error": "e", "count": 0, "sources": []},
    ]


@pytest.mark.parametrize("data", ["Y", "é", "Y/8=\n"])
def test_bytes_that_are_none_are_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011  # its words are never shown as they are
        spelling.restore(msgspec.structs.replace(image("a"), source_base64=data))


def test_lists_of_different_lengths_are_refused():
    record = events.Reason(error="e", count=2, sources=["a", "b"], sources_base64=["Yv8="])
    with pytest.raises(ValueError, match="shorter"):
        spelling.restore(record)
