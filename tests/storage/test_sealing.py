"""What is read is, to the bit, what was written, or it is said why not: torn, too long, altered, of another version."""

import io
import json
import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray import spelling
from batchgray.storage import sealing
from batchgray.storage.sealing import Altered, OtherVersion, SealedRecords, TooLong, Torn, Undecodable, UnreadableRecord

objects = st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text()), min_size=1)
LONGEST = 300
DEEP = b'"another":' + b"[" * 9999 + b"]" * 9999


class Record(msgspec.Struct):
    version: int = 1
    name: str = ""
    name_base64: spelling.Bytes = msgspec.UNSET
    rows: list[int] = []


RECORDS = SealedRecords(Record, LONGEST, version=1)
SOME = Record(name="a.jpg", rows=[1, 2, 3])


def flipped(data, bit):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def is_sealed(document):
    try:
        sealing.check_seal(document)
    except UnreadableRecord:
        return False
    return True


def sealed_again(line, before, after):
    """With another content and its seal."""
    return sealing.seal((line.rstrip(b"\n")[: -sealing.SEAL_BYTES] + b"}").replace(before, after)) + b"\n"


# seals


@settings(deadline=None)
@given(objects)
def test_a_sealed_object_is_still_json_with_the_same_members(members):
    document = sealing.seal(json.dumps(members).encode())
    assert is_sealed(document)
    read = json.loads(document)
    read.pop("seal")
    assert read == {name: value for name, value in members.items() if name != "seal"}


def test_a_bytearray_is_sealed_and_left_as_it_was():
    document = bytearray(b'{"a":1}')
    assert sealing.seal(document) == sealing.seal(bytes(document))
    document += b" "  # raises BufferError if a view of it were left
    assert document == b'{"a":1} '


@settings(deadline=None)
@given(objects, st.data())
def test_any_flipped_bit_breaks_the_seal(members, data):
    document = sealing.seal(json.dumps(members).encode())
    assert not is_sealed(flipped(document, data.draw(st.integers(0, 8 * len(document) - 1))))


@settings(deadline=None)
@given(objects, st.data())
def test_any_missing_or_added_tail_breaks_the_seal(members, data):
    document = sealing.seal(json.dumps(members).encode())
    assert not is_sealed(document[: data.draw(st.integers(0, len(document) - 1))])
    assert not is_sealed(document + data.draw(st.binary(min_size=1)))


def test_what_was_never_sealed_is_not_sealed():
    assert not is_sealed(b"")
    assert not is_sealed(b"{}")
    assert not is_sealed(b'{"a":1}')
    assert not is_sealed(sealing.seal(b"}")), "a seal and nothing else"


# records on lines


@pytest.mark.parametrize("name", ["a.jpg", "线\n\u2028", os.fsdecode(b"\xff.jpg")])
def test_a_record_comes_back_from_its_line(name):
    record = Record(name=name)
    assert RECORDS.decode_line(RECORDS.line(record)) == record
    assert RECORDS.decode_line(RECORDS.line(record).rstrip(b"\n")) == record, "the line break may be missing"
    assert RECORDS.read_line(io.BytesIO(RECORDS.line(record) + b"what follows")) == record


def test_a_record_is_read_only_by_its_own_seed():
    line = RECORDS.line(SOME, seed=7)
    assert RECORDS.decode_line(line, seed=7) == SOME
    for seed in (0, 8):
        with pytest.raises(Altered):
            RECORDS.decode_line(line, seed)


def test_a_line_that_is_cut_off_is_torn():
    line = RECORDS.line(SOME)
    for length in range(len(line) - 1):
        with pytest.raises(Torn):
            RECORDS.decode_line(line[:length])


def test_a_flipped_bit_is_no_record():
    line = RECORDS.line(SOME)
    for bit in range(8 * (len(line) - 1)):
        with pytest.raises((Altered, Torn, OtherVersion)):
            RECORDS.decode_line(flipped(line, bit))


def test_a_line_that_is_too_long_is_told_and_read_in_pieces():
    line = RECORDS.line(Record(rows=[1] * LONGEST))
    file = io.BytesIO(line + RECORDS.line(SOME))
    with pytest.raises(TooLong):
        RECORDS.read_line(file)
    *pieces, last = RECORDS.lines(io.BytesIO(line + RECORDS.line(SOME)))
    assert max(map(len, pieces)) == LONGEST
    assert RECORDS.decode_line(last) == SOME


@pytest.mark.parametrize("content", [b'"name":7', b'"name":"\xff"', b'"name":"a",,', pytest.param(DEEP, id="deep")])
def test_what_is_sealed_and_no_such_record_is_undecodable(content):
    with pytest.raises(Undecodable):
        RECORDS.decode_line(sealed_again(RECORDS.line(SOME), b'"name":"a.jpg"', content))


def test_bytes_beside_a_name_that_are_none_are_undecodable():
    line = RECORDS.line(Record(name=os.fsdecode(b"\xff")))
    with pytest.raises(Undecodable):
        RECORDS.decode_line(sealed_again(line, b'"name_base64":"', b'"name_base64":"*'))


@pytest.mark.parametrize("content", [b'"rows":[1', b'"rows":"in another way"'])
def test_a_later_version_is_told_as_such_however_it_is_laid_out(content):
    later = RECORDS.line(SOME).replace(b'"version":1', b'"version":2').replace(b'"rows":[1', content)
    for line in (later, later[:-9], sealed_again(later, b"", b"")):
        with pytest.raises(OtherVersion) as refused:
            RECORDS.decode_line(line)
        assert refused.value.version == 2
    assert SealedRecords(Record, LONGEST).decode_line(RECORDS.line(Record(version=2))) == Record(version=2)


def test_an_earlier_version_is_told_where_the_seal_holds():
    line = RECORDS.line(SOME).replace(b'"version":1', b'"version":0')
    with pytest.raises(Altered):
        RECORDS.decode_line(line)
    with pytest.raises(OtherVersion):
        RECORDS.decode_line(sealed_again(line, b"", b""))


# a document


def document_of(*lines):
    return sealing.seal(b'{"version":1,"rows":[\n' + b",\n".join(lines) + b"\n]}")


ENDLESS = sealing.seal(b'{"version":1,"rows":[\n1,\n' + b"1" * LONGEST + b"]}")


def test_a_document_has_any_number_of_lines():
    lines = [b"%d" % number for number in range(LONGEST)]
    assert RECORDS.read_document(io.BytesIO(document_of(*lines))).rows == list(range(LONGEST))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Torn),
        (document_of(b"1")[:-1], Torn),
        (document_of(b"1") + b"\n", Torn),
        (document_of(b"1").replace(b"1\n", b"2\n"), Altered),
        (ENDLESS, TooLong),
        (document_of(b"x"), Undecodable),
        (document_of(b"x").replace(b'"version":1', b'"version":3')[:-3], OtherVersion),
        (ENDLESS.replace(b'"version":1', b'"version":3'), OtherVersion),
    ],
)
def test_of_a_document_that_is_none_it_is_said_why(data, reason):
    with pytest.raises(reason):
        RECORDS.read_document(io.BytesIO(data))


def test_what_is_no_document_costs_no_more_memory_than_a_line_of_it():
    """A file without an end: one piece of it is read, and what follows the longest line is not."""
    taken = []

    class Endless(io.BytesIO):
        def seek(self, *_):
            return 1 << 60

        def read(self, size=-1):
            taken.append(size)
            return document_of(b"1")[-size:] if size == sealing.SEAL_BYTES else b"1" * size

    with pytest.raises(TooLong):
        RECORDS.read_document(Endless())
    assert len(taken) == 3
