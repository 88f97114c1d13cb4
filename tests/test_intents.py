"""What is about to be put where is written down, and only what was written down is believed."""

from batchgray import intents
from batchgray.intents import Intent, IntentLog

INTENTS = [Intent(output=f"{name}.jpg", size=5, checksum="xxh3-128:0123") for name in ("a", "b\n", "c")]


def log_in(folder, *given):
    log = IntentLog(folder, 7)
    for intent in given:
        log.append([intent])
    return folder / f"7{intents.SUFFIX}"


def test_intents_come_back_in_their_order(tmp_path):
    assert list(intents.read(log_in(tmp_path, *INTENTS))) == INTENTS


def test_a_worker_that_intends_nothing_leaves_no_log(tmp_path):
    IntentLog(tmp_path, 7)
    assert list(tmp_path.iterdir()) == []


def test_an_intent_that_is_not_as_it_was_written_is_not_believed(tmp_path):
    """A checksum that a power cut has changed could make somebody else's file pass for ours."""
    path = log_in(tmp_path, *INTENTS)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"0123", b"0124", 1))
    assert list(intents.read(path)) == INTENTS[1:]


def test_a_log_that_is_cut_off_anywhere_has_the_whole_lines(tmp_path):
    path = log_in(tmp_path, *INTENTS)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        whole = data[: length + 1].count(b"\n")
        assert list(intents.read(path)) == INTENTS[:whole], length
