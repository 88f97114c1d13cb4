"""How the coded data of a baseline JPEG of one scan is laid out, for it to be cut into slices (see `jpeg_slices`)."""

from collections.abc import Iterator
from dataclasses import dataclass

from batchgray.codecs import jpeg_markers as markers
from batchgray.codecs.excerpt import Contents
from batchgray.codecs.jpeg_outline import JpegOutline

_BLOCK = 8
_MOST_BLOCKS = 10  # of an MCU (ITU-T T.81, B.2.3)
_SOF1 = 0xC1  # baseline with more tables; SOF0 is baseline


@dataclass(frozen=True)
class JpegLayout:
    """`head` are the parts of the file before its coded data, `height_at` is where in them the height stands.

    `huffman` are the bodies of the segments with Huffman tables. `blocks` is the layout of an MCU as `walk_code` wants
    it. Of `rows_around` rows of MCUs above and below the pixels of a row depend.
    """

    head: tuple[slice, ...]
    height_at: int
    huffman: tuple[slice, ...]
    data_at: int
    blocks: tuple[int, ...]
    mcu_width: int
    mcu_height: int
    rows_around: int

    @classmethod
    def of(cls, data: Contents, outline: JpegOutline) -> "JpegLayout | None":
        """None for what is not cut into slices: of several scans, with restart markers, coded otherwise."""
        *segments, rest = outline.kept
        codes = [data[part.start + 1] for part in segments]
        frames = [part for part, code in zip(segments, codes, strict=True) if code in (markers.SOF0, _SOF1)]
        if len(outline.scans) != 1 or len(frames) != 1 or not {markers.DRI, markers.DAC}.isdisjoint(codes):
            return None
        head = (slice(0, 2), *segments, slice(rest.start, _stop_of(data, rest.start)))
        mcu = _Mcu.of(data[_body(frames[0])], data[_body(head[-1])])
        if mcu is None:
            return None
        before = head[: head.index(frames[0])]
        return cls(
            head=head,
            height_at=sum(part.stop - part.start for part in before) + 5,
            huffman=tuple(_body(part) for part, code in zip(segments, codes, strict=True) if code == markers.DHT),
            data_at=head[-1].stop,
            blocks=mcu.layout,
            mcu_width=_BLOCK * mcu.across,
            mcu_height=_BLOCK * mcu.down,
            rows_around=int(mcu.is_scaled_in_height),
        )


@dataclass(frozen=True)
class _Mcu:
    """The blocks of an MCU: of each the component and its DC and AC table, in the order in which they are coded."""

    blocks: tuple[tuple[int, int, int], ...]
    across: int
    down: int
    is_scaled_in_height: bool

    @classmethod
    def of(cls, frame: bytes, scan: bytes) -> "_Mcu | None":
        """By the bodies of the frame's and the scan's header (B.2.2, B.2.3); None of what these don't agree in."""
        count = frame[5] if len(frame) > 5 else 0
        identifiers, factors = frame[6 : 6 + 3 * count : 3], frame[7 : 6 + 3 * count : 3]
        chosen, tables = scan[1 : 1 + 2 * count : 2], scan[2 : 1 + 2 * count : 2]
        sides = [(factor >> 4, factor & 15) for factor in factors]
        if count not in (1, 3) or scan[:1] != frame[5:6] or identifiers != chosen or len(tables) != count:
            return None
        if any(not (1 <= side <= 4) for pair in sides for side in pair) or any(table & 0xCC for table in tables):
            return None
        if count == 1:  # a scan of one component has its blocks one by one, whatever its factors (A.2.2)
            sides = [(1, 1)]
        blocks = tuple(_blocks(sides, tables))
        rows = {down for _, down in sides}
        return (
            cls(blocks, max(across for across, _ in sides), max(rows), len(rows) > 1)
            if len(blocks) <= _MOST_BLOCKS
            else None
        )

    @property
    def layout(self) -> tuple[int, ...]:
        """As `walk_code` wants it."""
        padding = (0,) * (_MOST_BLOCKS - len(self.blocks))
        columns = (column for numbers in zip(*self.blocks, strict=True) for column in (*numbers, *padding))
        return (len(self.blocks), *columns)


def _blocks(sides: list[tuple[int, int]], tables: bytes) -> Iterator[tuple[int, int, int]]:
    for component, ((across, down), table) in enumerate(zip(sides, tables, strict=True)):
        yield from [(component, table >> 4, table & 15)] * (across * down)


def _body(part: slice) -> slice:
    """A segment's parameters, behind its marker and its length."""
    return slice(part.start + 4, part.stop)


def _stop_of(data: Contents, start: int) -> int:
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
