"""The splicing of entropy-coded data, against one that writes bits as text."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgray.kernels import splice_code


def stuffed(bits: str) -> bytes:
    """Whole bytes, a zero behind each 0xFF (T.81, B.1.1.5)."""
    data = int(bits or "0", 2).to_bytes(len(bits) // 8)
    return data.replace(b"\xff", b"\xff\0")


def spliced(source: bytes, passed_over: int, left_out: int, state: np.ndarray) -> bytes | None:
    target = np.zeros(2 * len(source) + 16, np.uint8)
    with np.errstate(over="ignore"):
        size = splice_code.splice(np.frombuffer(source, np.uint8), len(source), passed_over, left_out, target, state)
    return None if size < 0 else target[:size].tobytes()


# Bytes as entropy-coded data has them, and more that are 255.
DATA = st.lists(st.one_of(st.just(255), st.integers(0, 255)), min_size=5, max_size=40).map(bytes)


@settings(deadline=None, max_examples=300)
@given(pieces=st.lists(st.tuples(DATA, st.integers(0, 31), st.integers(0, 7)), min_size=1, max_size=4))
def test_the_bits_that_count_come_one_after_another(pieces):
    expected, state, data = "", np.zeros(2, np.int64), b""
    for plain, passed_over, left_out in pieces:
        bits = "".join(f"{byte:08b}" for byte in plain)
        expected += bits[passed_over : len(bits) - left_out]
        data += spliced(plain.replace(b"\xff", b"\xff\0"), passed_over, left_out, state)
    ended = len(expected) - int(state[1])
    assert 0 <= state[1] < 32
    assert data == stuffed(expected[:ended])
    assert f"{int(state[0]):b}" == (expected[ended:].lstrip("0") or "0")


def test_what_is_too_short_is_refused():
    assert spliced(b"\x12", 9, 0, np.zeros(2, np.int64)) is None
    assert spliced(b"\x12", 8, 1, np.zeros(2, np.int64)) is None
    assert spliced(b"", 1, 0, np.zeros(2, np.int64)) is None


def test_it_can_be_compiled():
    assert splice_code.functions().keys() == {"splice"}
