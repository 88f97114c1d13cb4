"""Damage is found: one flipped bit, one missing byte."""

import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.storage import integrity


def flipped(data, bit):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_a_checksum_names_its_algorithm():
    assert integrity.checksum([]) == "xxh3-128:99aa06d3014798d86001c324468d497f"
    assert integrity.checksum([b"gray"]) == f"xxh3-128:{xxhash.xxh3_128_hexdigest(b'gray')}"


@settings(deadline=None)
@given(st.lists(st.binary()))
def test_a_checksum_is_of_the_bytes_and_not_of_the_chunks(chunks):
    whole = b"".join(chunks)
    assert integrity.checksum(chunks) == integrity.checksum([whole])
    assert integrity.checksum(map(memoryview, chunks)) == integrity.checksum([bytearray(whole)])


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=200), st.data())
def test_any_flipped_bit_changes_the_checksum(content, data):
    damaged = flipped(content, data.draw(st.integers(0, 8 * len(content) - 1)))
    assert integrity.checksum([damaged]) != integrity.checksum([content])


def test_a_short_name_is_40_hex_digits_also_for_names_that_are_not_utf_8():
    names = ["a.jpg", "b.jpg", "图/" * 300, "\udcff.jpg"]
    shorts = [integrity.short_name(name) for name in names]
    assert len(set(shorts)) == len(names)
    assert all(len(short) == 40 and int(short, 16) >= 0 for short in shorts)
