"""What Pillow reads in other modes than its own."""

import contextlib
import io
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from batchgray import codec

ASSOCIATED, UNASSOCIATED = 1, 2  # values of the tag ExtraSamples, TIFF 6.0: whether the colour is multiplied by alpha


def gray_tiff(gray, alpha, extra_samples) -> bytes:
    buffer = io.BytesIO()
    Image.merge("LA", (Image.fromarray(gray), Image.fromarray(alpha))).save(buffer, "TIFF")
    entry = struct.pack("<HHIHH", 338, 3, 1, UNASSOCIATED, 0)
    assert buffer.getvalue().count(entry) == 1
    return buffer.getvalue().replace(entry, struct.pack("<HHIHH", 338, 3, 1, extra_samples, 0))


@pytest.mark.parametrize("extra_samples", [ASSOCIATED, UNASSOCIATED])
def test_gray_that_was_multiplied_by_its_alpha_comes_back_as_it_was_before(tmp_path, extra_samples):
    """Else a translucent gray would come out darker than it is, and than the same picture in colour."""
    gray = np.tile(np.arange(256, dtype=np.uint8), (9, 1))
    alpha = np.full_like(gray, 200)
    stored = gray if extra_samples == UNASSOCIATED else (gray.astype(np.uint16) * 200 // 255).astype(np.uint8)
    (tmp_path / "a.tif").write_bytes(gray_tiff(stored, alpha, extra_samples))
    planes = SimpleNamespace(gray=bytearray(gray.size), rgb=bytearray())
    with contextlib.closing(codec.open_source(str(tmp_path / "a.tif"), "bt601", 10**9)) as source:
        source.decode(planes)
    found = np.frombuffer(planes.gray, np.uint8).reshape(gray.shape)
    expected = gray if extra_samples == UNASSOCIATED else (stored.astype(np.uint16) * 255 // 200).astype(np.uint8)
    assert np.array_equal(found, expected)
    assert np.abs(found.astype(int) - gray).max() <= 2
