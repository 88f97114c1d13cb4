"""What Pillow reads is right, whatever the samples: TIFFs of every layout, and transparency of every kind."""

import itertools
import zlib
from contextlib import closing

import numpy as np
import pytest
import tiffs
from files import png, png16, saved
from harness import decode
from naive import picture
from PIL import Image

from batchgray.codecs import transparency
from batchgray.codecs.band_plan import plan_bands
from batchgray.codecs.bands import open_bands
from batchgray.codecs.opening import open_image
from batchgray.errors import ImageError

HEIGHT, WIDTH = 21, 35
WHITE, TINT = (255, 255, 255), (20, 200, 90)
GRAY, RGB = (tiffs.WHITE_IS_ZERO, tiffs.BLACK_IS_ZERO), (tiffs.RGB,)
STRAIGHT, MULTIPLIED, STRAIGHT_AND_MORE = (2,), (1,), (2, 0)
ALPHA = {STRAIGHT: "straight", MULTIPLIED: "multiplied", STRAIGHT_AND_MORE: "straight"}
STORED = {
    "one strip": {},
    "strips": {"strip_rows": 5},
    "tiles": {"tile": 16},
    "deflate": {"compression": tiffs.DEFLATE, "strip_rows": 8},
    "predictor": {"compression": tiffs.DEFLATE, "predictor": True},
    "planes": {"separate": True},
    "bigtiff": {"big": True},
}


LAYOUTS = [
    *itertools.product(GRAY, (1, 2, 4, 8, 12, 16), [()]),
    *itertools.product(GRAY, (8, 16), [(0,), STRAIGHT]),
    *itertools.product((tiffs.BLACK_IS_ZERO,), (8, 16), [MULTIPLIED]),
    *itertools.product(RGB, (8, 16), [(), (0,), STRAIGHT]),
    *itertools.product(RGB, (8,), [(0, 0), STRAIGHT_AND_MORE]),
]


def samples_of(bits: int, channels: int) -> np.ndarray:
    random = np.random.default_rng(bits + channels)
    samples = random.integers(0, 1 << bits, (HEIGHT, WIDTH, channels))
    samples[:4, :, -1] = 0
    samples[4:8, :, -1] = (1 << bits) - 1
    return samples


def in_memory(path, background=None) -> tuple[np.ndarray, str | None]:
    source = open_image(str(path), "bt601", 10**9, background)
    with closing(source):
        shape = (source.height, source.width, *((3,) if source.colour else ()))
        plane = memoryview(bytearray(int(np.prod(shape))))
        note = decode(source, plane)
    notes = "; ".join(filter(None, (source.note, note)))
    return np.frombuffer(plane, np.uint8).reshape(shape), notes


def in_bands(path, background=None) -> tuple[np.ndarray, bool]:
    source = open_image(str(path), "bt601", 10**9, background)
    source.close()
    found = []
    for by_libvips in (False, True):
        plan = plan_bands(str(path), source, "bt601", by_libvips)
        tops = range(0, source.height, 8)
        with closing(open_bands(str(path), source, plan, background)) as reader:
            rows = np.concatenate([reader.part(top, min(top + 8, source.height))() for top in tops])
            found.append((rows.reshape(source.height, source.width, *((3,) if source.colour else ())), reader.ignored))
    (rows, ignored), (rows_of_libvips, ignored_by_libvips) = found
    assert np.array_equal(rows, rows_of_libvips)
    assert ignored == ignored_by_libvips
    return rows, ignored


@pytest.mark.parametrize("background", [None, WHITE, TINT], ids=["", "white", "tint"])
@pytest.mark.parametrize(("photometric", "bits", "extras"), LAYOUTS)
def test_a_tiff_is_read_rightly_or_refused(tmp_path, photometric, bits, extras, background):
    samples, alpha = samples_of(bits, (3 if photometric == tiffs.RGB else 1) + len(extras)), ALPHA.get(extras, "")
    expected = picture(samples, bits, photometric == tiffs.WHITE_IS_ZERO, alpha, background)
    dropped = bool(alpha) and background is None
    for order, stored in itertools.product("<>", STORED):
        if stored == "predictor" and bits not in (8, 16):
            continue
        layout, path = f"{order} {stored}", tmp_path / "a.tif"
        tags = {"bits": bits, "photometric": photometric, "extras": extras, "order": order}
        path.write_bytes(tiffs.tiff(samples, **tags, **STORED[stored]))
        big_endian = order == ">" and (bits == 12 or stored == "bigtiff")
        if big_endian or (stored == "planes" and alpha and (photometric in GRAY or len(extras) > 1)):
            with pytest.raises(ImageError, match=r"not read here; convert"):
                in_memory(path, background)
            continue
        pixels, notes = in_memory(path, background)
        assert np.array_equal(pixels, expected), layout
        assert (transparency.IGNORED in notes) == dropped
        assert (f"the upper 8 of {bits} bits" in notes) == (bits > 8)
        if alpha == "multiplied" or bits == 12 or (stored == "planes" and samples.shape[2] > 1):
            with pytest.raises(ImageError, match="can't be converted in bands"):
                in_bands(path, background)
            continue
        pixels, ignored = in_bands(path, background)
        assert np.array_equal(pixels, expected), layout
        assert ignored == dropped


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("photometric", [tiffs.BLACK_IS_ZERO, tiffs.RGB])
def test_signed_samples_are_refused(tmp_path, bits, photometric):
    samples = samples_of(bits, 3 if photometric == tiffs.RGB else 1)
    (tmp_path / "a.tif").write_bytes(tiffs.tiff(samples, bits=bits, photometric=photometric, sample_format=2))
    with pytest.raises(ImageError, match="signed samples, whose black is not known; convert the file to unsigned"):
        in_memory(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ({"bits": 16, "photometric": None}, "does not say whether its 0 is black or white"),
        ({"bits": 16, "photometric": 0, "extras": MULTIPLIED}, "whose 0 is white, with alpha multiplied in"),
        ({"bits": 12, "photometric": 2}, "a TIFF of 3 x 12 bits with photometric interpretation 2 is not read here"),
        ({"bits": 8, "photometric": 1, "compression": 34712}, "a TIFF of compression 34712 is not read here"),
        ({"bits": 8, "photometric": 2, "compression": 50001}, "a TIFF of compression 50001 is not read here"),
        (
            {"bits": 8, "photometric": 5, "extras": (0, 0, 0), "more": {332: (3, 2)}},
            "inks other than cyan, magenta, yellow and black",
        ),
    ],
)
def test_what_is_not_read_is_not_called_damaged(tmp_path, layout, reason):
    channels = (3 if layout["photometric"] == tiffs.RGB else 1) + len(layout.get("extras", ()))
    (tmp_path / "a.tif").write_bytes(tiffs.tiff(samples_of(layout["bits"], channels), **layout))
    with pytest.raises(ImageError, match=reason) as refused:
        in_memory(tmp_path / "a.tif")
    assert "damaged" not in str(refused.value)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_colour_map_of_bytes_is_known_by_its_numbers(tmp_path, bits, order):
    """They should be of 16 bits. Pillow sees a palette of nothing but black."""
    random = np.random.default_rng(bits)
    colours, samples = random.integers(0, 256, (3, 1 << bits)), random.integers(0, 1 << bits, (HEIGHT, WIDTH, 1))
    numbers = tuple(map(int, colours.reshape(-1)))
    for stored in ({}, {"tile": 16}, {"compression": tiffs.DEFLATE, "strip_rows": 5}):
        more = {320: (3, numbers)}
        data = tiffs.tiff(samples, bits=bits, photometric=3, order=order, more=more, **stored)
        (tmp_path / "a.tif").write_bytes(data)
        expected = colours.T[samples[..., 0]]
        assert np.array_equal(in_memory(tmp_path / "a.tif")[0], expected)
        assert np.array_equal(in_bands(tmp_path / "a.tif")[0], expected)


@pytest.mark.parametrize("kind", [6, 8, 9])  # SBYTE, SSHORT, SLONG
def test_what_a_tiff_says_in_signed_numbers_counts(tmp_path, kind):
    """libtiff takes them, so an entry that is passed over would be believed all the same."""
    samples = samples_of(16, 1)
    (tmp_path / "a.tif").write_bytes(tiffs.tiff(samples, bits=16, photometric=0, more={258: (kind, 16)}))
    expected = picture(samples, 16, white_is_zero=True)
    assert np.array_equal(in_memory(tmp_path / "a.tif")[0], expected)
    assert np.array_equal(in_bands(tmp_path / "a.tif")[0], expected)
    (tmp_path / "a.tif").write_bytes(tiffs.tiff(samples, bits=16, photometric=1, more={339: (kind, 2)}))
    with pytest.raises(ImageError, match="signed samples"):
        in_memory(tmp_path / "a.tif")


def keyed_png(depth: int, colour_type: int, key: tuple[int, ...]) -> tuple[bytes, np.ndarray]:
    """A PNG one of whose values is transparent, and its samples with an alpha of their own."""
    channels = len(key)
    samples = samples_of(depth, channels)
    samples[::2, ::3] = key
    rows = samples.reshape(HEIGHT, -1)
    spread = (rows[..., None] >> np.arange(depth)[::-1] & 1).astype(np.uint8)
    packed = np.packbits(spread.reshape(HEIGHT, -1), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in packed)
    header = WIDTH.to_bytes(4) + HEIGHT.to_bytes(4) + bytes((depth, colour_type, 0, 0, 0))
    transparent = b"".join(value.to_bytes(2) for value in key)
    covered = np.where(np.all(samples == key, -1), 0, (1 << depth) - 1)
    return png(header, data, transparent), np.concatenate([samples, covered[..., None]], -1)


KEYED = [
    *((depth, 0, (1,)) for depth in (1, 2, 4)),
    *((8, 0, (77,)), (16, 0, (0x1234,)), (8, 2, (1, 2, 3))),
]


@pytest.mark.parametrize("background", [None, WHITE, TINT], ids=["", "white", "tint"])
@pytest.mark.parametrize(("depth", "colour_type", "key"), KEYED)
def test_a_pngs_one_transparent_value_is_known(tmp_path, depth, colour_type, key, background):
    data, samples = keyed_png(depth, colour_type, key)
    (tmp_path / "a.png").write_bytes(data)
    expected = picture(samples, depth, alpha="straight", background=background)
    pixels, notes = in_memory(tmp_path / "a.png", background)
    assert np.array_equal(pixels, expected)
    assert (transparency.IGNORED in notes) == (background is None)
    pixels, ignored = in_bands(tmp_path / "a.png", background)
    assert np.array_equal(pixels, expected)
    assert ignored == (background is None)


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


PALETTE = chunk(b"PLTE", bytes(range(12)))
OUT_OF_PLACE = {
    "before the palette": (3, chunk(b"tRNS", b"\x01\x20"), PALETTE),
    "more than colours": (3, PALETTE, chunk(b"tRNS", bytes(5))),
    "empty": (3, PALETTE, chunk(b"tRNS", b"")),
    "too short": (0, chunk(b"tRNS", b"\x01")),
    "too long": (0, chunk(b"tRNS", b"\0\x01\0\x02")),
    "none of alpha": (4, chunk(b"tRNS", b"\0\x01")),
}


@pytest.mark.parametrize("case", OUT_OF_PLACE)
def test_a_pngs_transparency_out_of_place_is_none(tmp_path, case):
    """As for libpng, which reads it in bands, and every viewer."""
    colour_type, *pieces = OUT_OF_PLACE[case]
    pixels = np.random.default_rng(0).integers(0, 4, (HEIGHT, WIDTH * (2 if colour_type == 4 else 1)), np.uint8)
    pixels[:, 1::2] = 255 if colour_type == 4 else pixels[:, 1::2]
    header = WIDTH.to_bytes(4) + HEIGHT.to_bytes(4) + bytes((8, colour_type, 0, 0, 0))
    data = png(header, b"".join(b"\0" + row.tobytes() for row in pixels))
    (tmp_path / "a.png").write_bytes(data[:33] + b"".join(pieces) + data[33:])
    with_background, notes = in_memory(tmp_path / "a.png", WHITE)
    assert notes == ""
    assert np.array_equal(with_background, in_memory(tmp_path / "a.png")[0])
    in_rows, ignored = in_bands(tmp_path / "a.png", WHITE)
    assert not ignored
    assert np.array_equal(with_background, in_rows)


def test_of_two_transparent_values_the_first_counts(tmp_path):
    data, samples = keyed_png(8, 0, (77,))
    at = data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:at] + chunk(b"tRNS", b"\0\x01") + data[at:])
    expected = picture(samples, 8, alpha="straight", background=WHITE)
    assert np.array_equal(in_memory(tmp_path / "a.png", WHITE)[0], expected)
    assert np.array_equal(in_bands(tmp_path / "a.png", WHITE)[0], expected)


def test_a_png_without_its_palette_is_told_as_such(tmp_path):
    header = WIDTH.to_bytes(4) + HEIGHT.to_bytes(4) + bytes((8, 3, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(png(header, bytes((WIDTH + 1) * HEIGHT)))
    with pytest.raises(ImageError, match="damaged: a PNG of palette colours without its palette"):
        in_memory(tmp_path / "a.png")


def test_a_transparent_colour_of_16_bits_is_noted_and_never_composited(tmp_path):
    data, samples = keyed_png(16, 2, (1, 2, 3))
    (tmp_path / "a.png").write_bytes(data)
    pixels, notes = in_memory(tmp_path / "a.png")
    assert np.array_equal(pixels, picture(samples, 16))
    assert transparency.IGNORED in notes
    with pytest.raises(ImageError, match="16 bits a sample, which --background can't composite"):
        in_memory(tmp_path / "a.png", WHITE)


VEILED = samples_of(8, 4).astype(np.uint8)


def veiled(format: str, **settings) -> bytes:
    from PIL import Image

    return saved(Image.fromarray(VEILED), format, **settings)


TRANSPARENT = {
    "a.png": (veiled("PNG"), VEILED, 8),
    "sixteen.png": (png16(samples_of(16, 4), 6), samples_of(16, 4), 16),
    "a.webp": (veiled("WEBP", lossless=True, exact=True), VEILED, 8),
}


@pytest.mark.parametrize("background", [None, WHITE, TINT], ids=["", "white", "tint"])
@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_is_noted_or_composited(tmp_path, name, background):
    data, samples, bits = TRANSPARENT[name]
    (tmp_path / name).write_bytes(data)
    expected = picture(samples, bits, alpha="straight", background=background)
    pixels, notes = in_memory(tmp_path / name, background)
    assert np.array_equal(pixels, expected)
    assert (transparency.IGNORED in notes) == (background is None)
    if name.endswith(".png"):
        assert np.array_equal(in_bands(tmp_path / name, background)[0], expected)


@pytest.mark.parametrize("background", [None, WHITE, TINT], ids=["", "white", "tint"])
def test_what_a_gifs_first_frame_leaves_free_is_transparent(tmp_path, background):
    """As every viewer has it; Pillow fills it with the palette's first colour, whatever that is."""
    frame = Image.fromarray(VEILED[..., :3]).quantize(60)
    data = bytearray(saved(frame, "GIF"))
    data[6:10] = (WIDTH + 9).to_bytes(2, "little") + (HEIGHT + 7).to_bytes(2, "little")
    at = data.index(b",", 13 + 3 * (2 << (data[10] & 7)))
    data[at + 1 : at + 5] = bytes((4, 0, 3, 0))
    (tmp_path / "a.gif").write_bytes(data)
    pixels, notes = in_memory(tmp_path / "a.gif", background)
    shown = np.asarray(frame.convert("RGB"))
    assert np.array_equal(pixels[3 : 3 + HEIGHT, 4 : 4 + WIDTH], shown)
    assert (transparency.IGNORED in notes) == (background is None)
    if background:
        free = np.ones(pixels.shape[:2], bool)
        free[3 : 3 + HEIGHT, 4 : 4 + WIDTH] = False
        assert np.array_equal(np.unique(pixels[free].reshape(-1, 3), axis=0), [background])


def test_of_what_is_opaque_nothing_is_noted(tmp_path):
    from PIL import Image

    opaque = VEILED.copy()
    opaque[..., 3] = 255
    Image.fromarray(opaque).save(tmp_path / "a.png")
    pixels, notes = in_memory(tmp_path / "a.png")
    assert np.array_equal(pixels, opaque[..., :3])
    assert notes == ""


@pytest.mark.parametrize("extras", [STRAIGHT, MULTIPLIED])
def test_gray_that_was_multiplied_by_its_alpha_comes_back_as_it_was_before(tmp_path, extras):
    """Else a translucent gray would come out darker than it is, and than the same picture in colour."""
    gray = np.tile(np.arange(256), (9, 1))
    stored = gray * 200 // 255 if extras == MULTIPLIED else gray
    samples = np.stack([stored, np.full_like(gray, 200)], -1)
    (tmp_path / "a.tif").write_bytes(tiffs.tiff(samples, bits=8, photometric=tiffs.BLACK_IS_ZERO, extras=extras))
    pixels, _ = in_memory(tmp_path / "a.tif")
    assert np.abs(pixels.astype(int) - gray).max() <= (2 if extras == MULTIPLIED else 0)
