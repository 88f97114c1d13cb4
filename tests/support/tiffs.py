"""TIFFs of any layout from their samples, which no library here can write (TIFF 6.0, sections 2, 8, 14, 15 and 18)."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

_SHORT, _LONG, _LONG8 = 3, 4, 16
_CODES = {1: "B", 2: "s", _SHORT: "H", _LONG: "I", 6: "b", 7: "s", 8: "h", 9: "i", _LONG8: "Q"}
NONE, DEFLATE = 1, 8
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2


def tiff(
    samples: np.ndarray,
    *,
    bits: int,
    photometric: int | None,
    order: str = "<",
    extras: tuple[int, ...] = (),
    sample_format: int | None = None,
    separate: bool = False,
    compression: int = NONE,
    predictor: bool = False,
    strip_rows: int | None = None,
    tile: int | None = None,
    big: bool = False,
    more: dict[int, tuple[int, object]] | None = None,
) -> bytes:
    """A TIFF of `samples`, of shape (height, width, samples a pixel). `more` are further tags: type and value.

    `tile` is the side of its tiles, in pixels, where it has tiles; `separate` holds one plane for each sample.
    """
    height, width, count = samples.shape
    parts = [samples[..., index : index + 1] for index in range(count)] if separate else [samples]
    pieces = [piece for part in parts for piece in _pieces(part, strip_rows or height, tile)]
    stored = [_stored(piece, bits, order, compression, predictor) for piece in pieces]
    tags: dict[int, tuple[int, object]] = {
        256: (_LONG, width),
        257: (_LONG, height),
        258: (_SHORT, (bits,) * count),
        259: (_SHORT, compression),
        277: (_SHORT, count),
        284: (_SHORT, 2 if separate else 1),
    }
    if photometric is not None:
        tags[262] = _SHORT, photometric
    if extras:
        tags[338] = _SHORT, extras
    if sample_format is not None:
        tags[339] = _SHORT, (sample_format,) * count
    if predictor:
        tags[317] = _SHORT, 2
    first = 16 if big else 8
    offsets = [first + sum(map(len, stored[:index])) for index in range(len(stored))]
    pointer = _LONG8 if big else _LONG
    tags[324 if tile else 273] = pointer, tuple(offsets)
    tags[325 if tile else 279] = pointer, tuple(map(len, stored))
    tags |= {322: (_LONG, tile), 323: (_LONG, tile)} if tile else {278: (_LONG, strip_rows or height)}
    return _joined(tags | (more or {}), b"".join(stored), order, big)


def _pieces(plane: np.ndarray, strip_rows: int, tile: int | None) -> Iterator[np.ndarray]:
    """Strips, or tiles filled up with zeros."""
    height, width = plane.shape[:2]
    for top in range(0, height, tile or strip_rows):
        if not tile:
            yield plane[top : top + strip_rows]
            continue
        for left in range(0, width, tile):
            part = plane[top : top + tile, left : left + tile]
            missing = [(0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)]
            yield np.pad(part, missing)


def _stored(piece: np.ndarray, bits: int, order: str, compression: int, predictor: bool) -> bytes:
    if predictor:
        piece = piece.copy()
        piece[:, 1:] = (piece[:, 1:] - piece[:, :-1]) % (1 << bits)
    rows = piece.reshape(len(piece), -1)
    if bits in (8, 16, 32):
        data = rows.astype(f"{order}u{bits // 8}").tobytes()
    else:  # the highest bit first, each row from a byte on
        spread = (rows[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)
        data = np.packbits(spread.reshape(len(rows), -1), axis=1).tobytes()
    return zlib.compress(data) if compression == DEFLATE else data


def _joined(tags: dict[int, tuple[int, object]], data: bytes, order: str, big: bool) -> bytes:
    """Header, `data`, what does not fit into an entry, and the directory."""
    pointer, inline, first = ("Q", 8, 16) if big else ("I", 4, 8)
    body, entries = bytearray(data), b""
    for tag, (kind, value) in sorted(tags.items()):
        if isinstance(value, bytes):
            count, packed = len(value), value
        else:
            values = value if isinstance(value, tuple) else (value,)
            count, packed = len(values), struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
        if len(packed) > inline:
            body += bytes(len(body) % 2)
            packed, at = struct.pack(order + pointer, first + len(body)), packed
            body += at
        entries += struct.pack(f"{order}HH{pointer}", tag, kind, count) + packed.ljust(inline, b"\0")
    body += bytes(len(body) % 2)
    mark = b"II" if order == "<" else b"MM"
    numbers = (43, 8, 0, first + len(body)) if big else (42, first + len(body))
    head = struct.pack(order + ("HHHQ" if big else "HI"), *numbers)
    number = struct.pack(order + ("Q" if big else "H"), len(tags))
    return mark + head + bytes(body) + number + entries + bytes(inline)
