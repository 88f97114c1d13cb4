"""What is about to be put where is written down, and only what was written down is believed."""

import pytest

from batchgray.storage import intents
from batchgray.storage.durable import Folder
from batchgray.storage.intents import Intent, IntentLog

INTENTS = [Intent(output=f"{name}.jpg", size=5, checksum="xxh3-128:0123") for name in ("a", "b\n", "c")]


NAME = f"7{intents.SUFFIX}"


@pytest.fixture
def flight(tmp_path):
    with Folder.at(tmp_path) as flight:
        yield flight


def log_in(flight, *given):
    log = IntentLog(flight, 7)
    for intent in given:
        log.append([intent])
    return flight.path / NAME


def test_intents_come_back_in_their_order(flight):
    assert log_in(flight, *INTENTS).exists()
    assert list(intents.read(flight, NAME)) == INTENTS


def test_a_worker_that_intends_nothing_leaves_no_log(flight):
    IntentLog(flight, 7)
    assert flight.names() == []


def test_an_intent_that_is_not_as_it_was_written_is_not_believed(flight):
    """A checksum that a power cut has changed could make another program's file pass for ours."""
    path = log_in(flight, *INTENTS)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"0123", b"0124", 1))
    assert list(intents.read(flight, NAME)) == INTENTS[1:]


def test_a_log_that_is_cut_off_anywhere_has_the_whole_lines(flight):
    path = log_in(flight, *INTENTS)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        whole = data[: length + 1].count(b"\n")
        assert list(intents.read(flight, NAME)) == INTENTS[:whole], length
