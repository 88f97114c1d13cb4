"""What a TIFF's directory tells, and the shorter one that libraries get."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
import tiffs
from harness import decode
from PIL import Image

from batchgray.codecs import opening, tiff_outline
from batchgray.codecs.excerpt import Excerpt
from batchgray.codecs.opening import open_image
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.errors import ImageError

RGB = np.random.default_rng(6).integers(0, 256, (40, 50, 3))
LONG = 3_000_000
METADATA = {270: (2, b"d" * LONG), 271: (2, b"Maker\0"), 305: (2, b"s" * LONG), 34675: (7, bytes(LONG))}


def made(**layout) -> bytes:
    return tiffs.tiff(RGB, **{"bits": 8, "photometric": tiffs.RGB, "more": METADATA} | layout)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_what_the_picture_needs_is_known(order, big):
    data = made(order=order, big=big, strip_rows=8)
    outline = TiffOutline.walk(data)
    assert outline.pages == 1
    assert outline.value(data, tiff_outline.WIDTH, 0) == 50
    assert outline.values(data, tiff_outline.BITS) == (8, 8, 8)
    assert outline.value(data, tiff_outline.ORIENTATION, 7) == 7
    assert outline.numbers == 10
    assert outline.longest_piece(data) == 8 * 50 * 3
    assert outline.skipped_bytes == 3 * LONG
    assert 271 in outline.entries


@pytest.mark.parametrize("big", [False, True])
def test_libraries_get_the_picture_without_what_is_told_of_it(big):
    data = made(big=big)
    tracemalloc.start()
    outline = TiffOutline.walk(data)
    with Image.open(io.BufferedReader(Excerpt(data, outline.parts(data)))) as image:
        assert tracemalloc.get_traced_memory()[1] < LONG // 10
        assert np.array_equal(np.asarray(image), RGB)
        assert image.tag_v2[271] == "Maker"
        assert not {270, 305, 34675} & set(image.tag_v2)
    tracemalloc.stop()


def test_a_head_has_no_tables_and_changed_values():
    data = made(strip_rows=1)
    outline = TiffOutline.walk(data)
    head = io.BufferedReader(Excerpt(data, outline.parts(data, {tiff_outline.PHOTOMETRIC: 6}, whole=False)))
    with Image.open(head) as image:
        assert len(image.tag_v2[tiff_outline.STRIP_OFFSETS]) == 1
        assert image.tag_v2[tiff_outline.PHOTOMETRIC] == 6


@pytest.mark.parametrize("compression", [tiffs.NONE, tiffs.DEFLATE])
def test_what_libtiff_reads_beside_the_picture_is_reserved(tmp_path, compression, monkeypatch):
    """It reads the file itself, and so all of its directory."""
    monkeypatch.setattr(opening, "_READERS", {})
    path = tmp_path / "a.tif"
    path.write_bytes(made(compression=compression))
    source = open_image(str(path), "bt601", 10**9)
    plane = memoryview(bytearray(RGB.size))
    assert 6 * LONG < source.scratch_bytes < 7 * LONG
    assert decode(source, plane) is None
    source.close()
    assert np.array_equal(np.frombuffer(plane, np.uint8), RGB.reshape(-1))


def test_of_a_repeated_entry_the_first_counts():
    """As for libtiff, which reads the file itself."""
    entries = [(256, 4, 1, 5), (256, 4, 1, 9), (257, 4, 1, 3)]
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 3)
    data += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    assert TiffOutline.walk(data).value(data, tiff_outline.WIDTH, 0) == 5


@pytest.mark.parametrize("offset", [0, 2**63 - 1, 2**64 - 1])
def test_a_directory_out_of_the_file_is_none(offset):
    head = b"II+\0\x08\0\0\0" + offset.to_bytes(8, "little")
    with pytest.raises(ImageError, match="a TIFF that ends before its directory"):
        TiffOutline.walk(head)


def test_a_chain_that_bites_its_tail_ends():
    data = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 256, 4, 1, 5, 8)
    assert TiffOutline.walk(data).pages == 1
