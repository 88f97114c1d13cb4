"""PNMs of every kind: pixels as Netpbm defines them, whatever the highest value is."""

from contextlib import closing

import numpy as np
import pytest

from batchgray.codecs import pnm
from batchgray.codecs.opening import open_image
from batchgray.codecs.pnm import scale_to_8_bits
from batchgray.errors import ImageError

RANDOM = np.random.default_rng(4)
WIDTH, HEIGHT = 77, 40


def raw(samples: np.ndarray, most: int) -> bytes:
    kind = 6 if samples.ndim == 3 else 5
    head = b"P%d\n# drawn\n%d %d\n%d\n" % (kind, samples.shape[1], samples.shape[0], most)
    return head + samples.astype(">u2" if most > 255 else np.uint8).tobytes()


def plain(samples: np.ndarray, most: int, between: bytes = b" ") -> bytes:
    head = b"P%d %d %d %d\n" % (3 if samples.ndim == 3 else 2, samples.shape[1], samples.shape[0], most)
    return head + between.join(b"%d" % value for value in samples.reshape(-1))


@pytest.fixture
def read(tmp_path):
    """The pixels and the note of a file of these bytes."""

    def read_one(data: bytes):
        (tmp_path / "image").write_bytes(data)
        with closing(open_image(str(tmp_path / "image"), "bt601", 10**9)) as opened:
            values, alpha = opened.read()
            assert alpha is None
            assert values.shape[:2] == (opened.height, opened.width)
            assert opened.colour == (values.ndim == 3)
            return values, opened.note

    return read_one


@pytest.fixture(params=[1 << 16, 64], ids=["at once", "in pieces"])
def pieces(request, monkeypatch):
    monkeypatch.setattr(pnm, "_AT_ONCE", request.param)


@pytest.mark.parametrize("write", [raw, plain])
@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 3)])
@pytest.mark.parametrize("most", [1, 3, 15, 100, 255, 256, 1023, 4095, 50000, 65535])
@pytest.mark.usefixtures("pieces")
def test_samples_are_scaled_in_proportion_and_of_more_bits_the_upper_are_taken(read, write, shape, most):
    samples = RANDOM.integers(0, most + 1, shape)
    values, note = read(write(samples, most))
    if most > 255:
        expected = samples * 256 // (most + 1)
        assert note == f"the upper 8 of {most.bit_length()} bits were taken"
    else:
        expected = np.floor(samples * 255 / most + 0.5)
        assert note is None
    assert np.array_equal(values, expected)


def test_black_is_black_and_white_is_white_and_bits_are_the_upper_ones():
    for most in range(1, 65536, 7):
        scale = scale_to_8_bits(most)
        assert (scale[0], scale[-1]) == (0, 255)
    for bits in range(8, 17):
        most = (1 << bits) - 1
        assert np.array_equal(scale_to_8_bits(most), np.arange(most + 1) >> (bits - 8))


@pytest.mark.usefixtures("pieces")
def test_of_bits_one_is_black_and_rows_begin_with_a_byte(read):
    bits = RANDOM.integers(0, 2, (HEIGHT, WIDTH))
    head = b"%d %d\n" % (WIDTH, HEIGHT)
    packed = b"P4 " + head + np.packbits(bits, axis=1).tobytes()
    text = b"P1 " + head + b"".join(b"%d" % bit for bit in bits.reshape(-1))
    spaced = b"P1 " + head + b" #\n".join(b"%d" % bit for bit in bits.reshape(-1))
    for data in (packed, text, spaced):
        assert np.array_equal(read(data)[0], 255 - 255 * bits)


@pytest.mark.usefixtures("pieces")
def test_comments_among_samples_count_for_nothing(read):
    samples = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3))
    assert np.array_equal(read(plain(samples, 255, b" # 12 34\n"))[0], samples)
    assert np.array_equal(read(plain(samples, 255, b"#" + b"c" * 100 + b"\r\n"))[0], samples)


def test_the_first_of_several_is_taken_and_the_note_says_so(read):
    samples = RANDOM.integers(0, 256, (HEIGHT, WIDTH))
    values, note = read(raw(samples, 255) + raw(255 - samples, 255))
    assert np.array_equal(values, samples)
    assert note == "the first of 2 frames or pages"


SAMPLES = RANDOM.integers(0, 100, (HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (raw(SAMPLES, 255)[:-1], "truncated: 3,079 bytes of pixels, which must be 3,080 or more"),
        (plain(SAMPLES, 255)[:-3000] + b" " * 3000, r"truncated: \d,\d+ samples of 3,080"),
        (plain(SAMPLES, 255)[:5000], "truncated: 4,987 bytes of pixels, which must be 6,159 or more"),
        (raw(SAMPLES, 50), "damaged: a sample over 50, which is to be the highest"),
        (plain(SAMPLES, 50), "damaged: a sample over 50, which is to be the highest"),
        (plain(SAMPLES, 255, b" x "), "damaged: x among the samples, which are numbers"),
        (plain(SAMPLES, 255, b" -"), "damaged: - among the samples, which are numbers"),
        (b"P2 50 50 255\n" + b"1" * 9000, "damaged: a sample of more than 1,000 digits"),
        (b"P1 50 50\n" + b"2" * 2500, "damaged: a sample over 1"),
        (b"P5 0 9 255\n", "no pixels: 0 x 9"),
        (b"P6 30000 30000 255\n" + bytes(99), "truncated: 99 bytes of pixels, which must be 2,700,000,000 or more"),
        (b"P6 99999 99999 255\n", "over the limit of 1,000,000,000"),
    ],
)
def test_what_is_wrong_is_said(read, data, reason):
    with pytest.raises(ImageError, match=reason):
        read(data)
