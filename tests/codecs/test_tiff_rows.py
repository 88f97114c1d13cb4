"""Each strip and tile can be had by itself, in any order."""

import numpy as np
import pytest
import tiffs

from batchgray.codecs.inflating import Unsound
from batchgray.codecs.tiff_outline import TiffOutline
from batchgray.codecs.tiff_rows import TiffRows

SAMPLES = np.random.default_rng(1).integers(0, 256, (45, 37, 3))
LAYOUTS = {"strips": {"strip_rows": 7}, "tiles": {"tile": 16}}


def rows_of(data: bytes) -> TiffRows:
    rows = TiffRows.of(data, TiffOutline.walk(data))
    assert rows is not None
    return rows


@pytest.mark.parametrize(("compression", "predictor"), [(1, False), (8, False), (8, True)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces_come_in_any_order(layout, compression, predictor):
    kind = {"compression": compression, "predictor": predictor}
    data = tiffs.tiff(SAMPLES, bits=8, photometric=tiffs.RGB, **kind, **LAYOUTS[layout])
    rows, found = rows_of(data), np.zeros(SAMPLES.shape, np.uint8)
    for piece in reversed(list(rows.pieces())):
        rows.read_piece(data, piece, found[piece.rows, piece.columns])
    assert np.array_equal(found, SAMPLES)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_piece_outside_of_the_file_is_told(layout):
    data = tiffs.tiff(SAMPLES, bits=8, photometric=tiffs.RGB, **LAYOUTS[layout])
    rows = rows_of(data)
    *_, last = rows.pieces()
    target = np.zeros((last.rows.stop - last.rows.start, last.columns.stop - last.columns.start, 3), np.uint8)
    with pytest.raises(Unsound):
        rows.read_piece(data[: last.at.stop - 1], last, target)


def test_what_is_held_does_not_grow_with_a_strip_that_can_be_inflated_bit_by_bit():
    tall = np.zeros((4000, 300, 3), int)
    data = tiffs.tiff(tall, bits=8, photometric=tiffs.RGB, compression=tiffs.DEFLATE)
    assert rows_of(data).scratch_bytes < tall.size // 2
