"""The filters of PNG undone, of which TIFF has one too, as numba compiles it; `unfilter` loads what came of it.

Three of the five filters take a pixel's left neighbour, so a row goes pixel by pixel, and what counts is how long one
waits for the one before. A pixel is eight lanes, of which it has as many as it has bytes: so the way from one to the
next is one operation (sub), four (average) or eight (Paeth), whatever the number of channels, and one code does for
all. Loads and stores are of eight bytes and overlap: what is written behind a pixel is written again by the next one.
So eight bytes more must be there behind each row; what has no row behind it is made elsewhere, and copied.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import cfunc, int64, types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTES = "CPointer(uint8)"
_SIGNATURE = f"int64({_BYTES}, {_BYTES}, {_BYTES}, {_BYTES}, int64, int64, int64, int64)"
_EIGHT = ir.VectorType(ir.IntType(8), 8)
_LANES = ir.VectorType(ir.IntType(16), 8)

# From a pixel's filtered bytes and its neighbours (left, above, above the left one) to its own, modulo 2^8.
Step = Callable[[ir.IRBuilder, ir.Value, ir.Value, ir.Value, ir.Value], ir.Value]


def _all(value: int) -> ir.Constant:
    return ir.Constant(_LANES, [value] * _LANES.count)


def _none(builder: ir.IRBuilder, value: ir.Value, left: ir.Value, above: ir.Value, corner: ir.Value) -> ir.Value:
    return value


def _sub(builder: ir.IRBuilder, value: ir.Value, left: ir.Value, above: ir.Value, corner: ir.Value) -> ir.Value:
    return builder.add(value, left)


def _up(builder: ir.IRBuilder, value: ir.Value, left: ir.Value, above: ir.Value, corner: ir.Value) -> ir.Value:
    return builder.add(value, above)


def _average(builder: ir.IRBuilder, value: ir.Value, left: ir.Value, above: ir.Value, corner: ir.Value) -> ir.Value:
    return builder.add(value, builder.lshr(builder.add(left, above), _all(1)))


def _paeth(builder: ir.IRBuilder, value: ir.Value, left: ir.Value, above: ir.Value, corner: ir.Value) -> ir.Value:
    """The nearest to left + above - corner of the three: left first, then above (PNG, 9.4).

    As stb_image has it: the larger of left and above where 3 corner - left - above is not over the smaller, the smaller
    where it is not under the larger, else the corner.
    """
    bound = builder.sub(builder.sub(builder.mul(corner, _all(3)), above), left)
    left_is_smaller = builder.icmp_signed("<", left, above)
    smaller, larger = builder.select(left_is_smaller, left, above), builder.select(left_is_smaller, above, left)
    nearest = builder.select(builder.icmp_signed("<=", larger, bound), smaller, corner)
    return builder.add(value, builder.select(builder.icmp_signed("<=", bound, smaller), larger, nearest))


def _pixels_of(step: Step) -> Any:
    """A loop over pixels: all pointers are to the first one."""

    @intrinsic
    def undo(typing_context, source, at, above, up, target, to, count, pixel_bytes):
        def emit(context, builder, signature, arguments):
            filtered, over, made = (builder.gep(arguments[i], [arguments[i + 1]]) for i in (0, 2, 4))
            count_of, size = arguments[6:]
            left, corner = (cgutils.alloca_once_value(builder, _all(0)) for _ in range(2))
            with cgutils.for_range(builder, count_of) as pixel:
                place = builder.mul(pixel.index, size)
                value, up_value = (_widened(builder, _eight_at(builder, each, place)) for each in (filtered, over))
                found = step(builder, value, builder.load(left), up_value, builder.load(corner))
                found = builder.trunc(found, _EIGHT)
                builder.store(_widened(builder, found), left)
                builder.store(up_value, corner)
                builder.store(found, _start(builder, made, place)).align = 1
            return context.get_dummy_value()

        return types.void(source, at, above, up, target, to, count, pixel_bytes), emit

    return undo


def _start(builder: ir.IRBuilder, bytes_: ir.Value, at: ir.Value) -> ir.Value:
    return builder.bitcast(builder.gep(bytes_, [at]), _EIGHT.as_pointer())


def _eight_at(builder: ir.IRBuilder, bytes_: ir.Value, at: ir.Value) -> ir.Value:
    eight = builder.load(_start(builder, bytes_, at))
    eight.align = 1
    return eight


def _widened(builder: ir.IRBuilder, eight: ir.Value) -> ir.Value:
    return builder.zext(eight, _LANES)


_undo_none, _undo_sub, _undo_up, _undo_average, _undo_paeth = map(_pixels_of, (_none, _sub, _up, _average, _paeth))


def unfilter(source, above, target, last, rows, row_bytes, pixel_bytes, only):
    """Undo the filters of `rows` rows: `source` has each of them behind its filter's type, `target` gets them alone.

    Where `only` is the type of all, 0 or more, none is in `source`.

    `above` is the row above the first (zeros above an image), and becomes the last one; `last` has room for a row.
    Behind `source`, `above` and `last` are eight bytes more. `pixel_bytes` is how far the left neighbour of a byte is
    away, 8 at most. Returns how many rows it were: fewer where a type is none of the five.
    """
    pixels, eights = (row_bytes + pixel_bytes - 1) // pixel_bytes, (row_bytes + 7) // 8
    for y in range(rows):
        at, over, up, into, to = y * row_bytes, target, (y - 1) * row_bytes, target, y * row_bytes
        kind = only
        if only < 0:
            kind = int64(source[at + y])
            at += y + 1
        apart = y == rows - 1 or row_bytes < 8  # what is written behind it would not be in the next row
        if y == 0 or row_bytes < 8:
            over, up = above, int64(0)
        if apart:
            into, to = last, int64(0)
        if kind == 0:
            _undo_none(source, at, over, up, into, to, eights, int64(8))
        elif kind == 1:
            _undo_sub(source, at, over, up, into, to, pixels, pixel_bytes)
        elif kind == 2:
            _undo_up(source, at, over, up, into, to, eights, int64(8))
        elif kind == 3:
            _undo_average(source, at, over, up, into, to, pixels, pixel_bytes)
        elif kind == 4:
            _undo_paeth(source, at, over, up, into, to, pixels, pixel_bytes)
        else:
            return y
        if apart:
            for x in range(row_bytes):
                above[x] = last[x]
                target[y * row_bytes + x] = last[x]
    return rows


def functions() -> dict[str, Any]:
    """Compile them."""
    return {"unfilter": cfunc(_SIGNATURE, error_model="numpy", forceinline=True)(unfilter)}
