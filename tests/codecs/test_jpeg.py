"""JPEGs decoded: `luma` of what comes in several scans, without those of nothing but chroma."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg
from files import ODD, RGB, sampled
from harness import decode
from PIL import Image

from batchgray.codecs.jpeg_outline import JpegOutline
from batchgray.codecs.opened import SecondOpinion
from batchgray.codecs.opening import open_image
from batchgray.errors import ImageError

SIDES = RGB.shape[1::-1]


def saved(mode: str = "RGB", **settings) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(buffer, "JPEG", **settings)
    return buffer.getvalue()


def spliced(order: str, left_out: str = "", **settings) -> bytes:
    """A JPEG without interleaved scans, of three gray ones; tables are defined anew between the scans.

    `order` has a number for each next scan of that component, `left_out` numbers of those whose last scan is missing.
    """
    head, scans = b"", {}
    for number, plane in enumerate(Image.fromarray(RGB).convert("YCbCr").split(), 1):
        buffer = io.BytesIO()
        plane.save(buffer, "JPEG", quality=90, **settings)
        segments = re.split(rb"(?=\xff[\xc0-\xcf\xd9-\xfe])", buffer.getvalue())
        (frame,) = (segment for segment in segments if segment[:2] in (b"\xff\xc0", b"\xff\xc2"))
        scans[number], tables = [], b""
        for segment in segments[segments.index(frame) + 1 : -1]:
            if segment.startswith(b"\xff\xda"):
                scans[number].append(tables + segment[:5] + bytes([number]) + segment[6:])
                tables = b""
            else:
                tables += segment
        components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
        (quantisation,) = (segment for segment in segments if segment.startswith(b"\xff\xdb"))
        head = b"\xff\xd8" + quantisation + frame[:2] + b"\0\x11" + frame[4:9] + b"\3" + components
        if str(number) in left_out:
            scans[number].pop()
    return head + b"".join(scans[int(number)].pop(0) for number in order) + b"\xff\xd9"


def chroma_scans(data: bytes) -> list[slice]:
    """Where the entropy-coded data of Cb's and Cr's own scans lies."""
    found = re.finditer(rb"\xff\xda\x00\x08\x01[\x02\x03]...((?:[^\xff]|\xff[\0\xd0-\xd7])*)", data, re.DOTALL)
    return [slice(*match.span(1)) for match in found]


def decoded(tmp_path, data: bytes, method: str = "luma") -> tuple[np.ndarray, str | None, int]:
    """The pixels, the note, and how many bytes of the file are left out."""
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    source = open_image(str(path), method, 10**9)
    pixels = np.zeros((source.height, source.width, 3 if source.colour else 1), np.uint8)
    plane = memoryview(pixels).cast("B")
    note = decode(source, plane)
    kept = getattr(source, "luma_parts", None) or [slice(0, len(data))]
    source.close()
    return pixels, note, len(data) - sum(part.stop - part.start for part in kept)


SHORTENED = {
    "4:2:0": saved(quality=92, progressive=True, subsampling=2),
    "4:2:2": saved(quality=60, progressive=True, subsampling=1),
    "4:4:4": saved(quality=92, progressive=True, subsampling=0),
    "restart markers": saved(quality=92, progressive=True, restart_marker_blocks=3),
    "fill bytes": re.sub(rb"(?=\xff\xda)", b"\xff\xff", saved(quality=92, progressive=True)),
    "a trailer": saved(quality=92, progressive=True) + bytes(1000),
    "progressive, one by one": spliced("111111222222333333", progressive=True),
    "progressive, chroma first": spliced("333333222222111111", progressive=True),
    "progressive, by turns": spliced("231" * 6, progressive=True),
    "progressive, chroma not to the last bit": spliced("1111112222233333", "23", progressive=True),
    "sequential": spliced("123"),
    "sequential, chroma first": spliced("231"),
    "sequential, Y' alone": spliced("12"),
}
WHOLE = {
    "gray": saved("L", progressive=True),
    "one scan": saved(quality=92),
    "RGB": saved(quality=92, progressive=True, keep_rgb=True),
    "Y' not to the last bit": spliced("11111222222333333", "1", progressive=True),
    "chroma alone": spliced("23"),
}


@pytest.mark.parametrize("name", [*SHORTENED, *WHOLE])
def test_luma_is_the_whole_files_gray_whatever_is_left_out(tmp_path, name):
    data = (SHORTENED | WHOLE)[name]
    pixels, note, left_out = decoded(tmp_path, data)
    assert np.array_equal(pixels, simplejpeg.decode_jpeg(data, "GRAY"))
    assert note is None
    coded = sum(part.stop - part.start for part in chroma_scans(data))
    assert left_out > coded > 0 if name in SHORTENED else left_out == 0


def test_colour_needs_all_scans(tmp_path):
    data = SHORTENED["4:2:0"]
    pixels, note, left_out = decoded(tmp_path, data, "bt601")
    assert np.array_equal(pixels, simplejpeg.decode_jpeg(data, "RGB"))
    assert (note, left_out) == (None, 0)


@pytest.mark.parametrize("name", ["4:2:0", "progressive, one by one", "sequential"])
@pytest.mark.parametrize("method", ["luma", "bt601"])
def test_a_file_cut_off_in_a_scan_of_chroma_fails(tmp_path, name, method):
    data = SHORTENED[name]
    for part in chroma_scans(data):
        cut = data[: (part.start + part.stop) // 2]
        assert JpegOutline.walk(cut).luma_parts() is None
        with pytest.raises(ImageError, match="truncated: Premature end"):
            decoded(tmp_path, cut, method)
    with pytest.raises(ImageError, match="truncated: Premature end"):
        decoded(tmp_path, data[:-2], method)


def test_what_is_wrong_in_the_chroma_costs_luma_nothing(tmp_path):
    data = bytearray(SHORTENED["4:2:0"])
    middle = chroma_scans(data)[0]
    data[middle] = bytes(middle.stop - middle.start)
    pixels, note, _ = decoded(tmp_path, bytes(data))
    assert np.array_equal(pixels, simplejpeg.decode_jpeg(SHORTENED["4:2:0"], "GRAY"))
    assert note is None
    assert "fault in the file" in decoded(tmp_path, bytes(data), "bt601")[1]


def test_what_is_wrong_in_luma_is_noted(tmp_path):
    data = SHORTENED["4:2:0"]
    at = data.rindex(b"\xff\xda") + 30  # in the last scan, of Y' alone
    damaged = data[:at] + b"\xff\xd9"
    pixels, note, _ = decoded(tmp_path, damaged)
    assert "fault in the file" in note
    assert np.array_equal(pixels, simplejpeg.decode_jpeg(damaged, "GRAY", strict=False))


@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 2), *ODD])
def test_a_picture_of_any_sampling_is_sound(tmp_path, across, down):
    data = sampled(across, down)
    with Image.open(io.BytesIO(data)) as image:
        colours = np.asarray(image.convert("RGB"))
    assert np.abs(colours.astype(int) - RGB).mean() < 20  # it is the picture
    pixels, note, _ = decoded(tmp_path, data, "bt601")
    assert np.array_equal(pixels, colours)
    assert note is None
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", image.size)
        luma = np.asarray(image)
    pixels, note, _ = decoded(tmp_path, data, "luma")
    assert np.array_equal(pixels[..., 0], luma)
    assert note is None


def test_what_takes_more_memory_to_decode_again_says_so_before_it_does(tmp_path):
    data = SHORTENED["sequential"]
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:-2] + bytes(600) + data[-2:])
    source = open_image(str(path), "bt601", 10**9)
    plane = memoryview(bytearray(3 * source.width * source.height))
    with pytest.raises(SecondOpinion) as wanted:
        source.decode(SimpleNamespace(rgb=plane, gray=plane))
    again = wanted.value.opened
    assert again.scratch_bytes > 4 * source.scratch_bytes
    same = ("version", "width", "height", "colour", "exif", "note")
    assert [getattr(again, name) for name in same] == [getattr(source, name) for name in same]
    assert "595 extraneous bytes" in again.decode(SimpleNamespace(rgb=plane, gray=plane))
    again.close()
    source.close()


def test_profiles_without_end_are_never_read(tmp_path):
    profile = b"\xff\xe2" + (60016).to_bytes(2) + b"ICC_PROFILE\0\1\1" + bytes(60000)
    data = saved(quality=92)
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:2] + 40 * profile + data[2:])
    source = open_image(str(path), "bt601", 10**9)
    source.close()
    assert source.scratch_bytes - source.width * source.height == pytest.approx(len(data), abs=200)  # the copy
    pixels, note, _ = decoded(tmp_path, path.read_bytes(), "bt601")
    assert np.array_equal(pixels, simplejpeg.decode_jpeg(data, "RGB"))
    assert note is None
