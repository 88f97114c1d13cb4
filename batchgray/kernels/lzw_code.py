"""TIFF's LZW undone, as numba compiles it; `lzw` loads what came of it.

A string of the table is the one before it in the output and one byte more, and both lie there one behind the other: so
the table needs no strings, only where each begins in the output, and how long it is. Few strings of a photograph are
longer than eight bytes, and so many are in the table itself: they are written at once, and wait for nothing that was
written just before.
"""

from typing import Any

from llvmlite import ir
from numba import cfunc, int64, types, uint64
from numba.extending import intrinsic

_BYTES, _NUMBERS = "CPointer(uint8)", "CPointer(uint64)"
_SIGNATURE = f"int64({_BYTES}, int64, {_BYTES}, int64, {_NUMBERS})"
_CLEAR, _END, _FIRST, _CODES = 256, 257, 258, 4096


@intrinsic
def _copy_eight(typing_context, data, at, to):
    """Eight bytes from one place to a later one."""

    def emit(context, builder, signature, arguments):
        bytes_, source, target = arguments
        _store(builder, bytes_, target, _word_at(builder, bytes_, source))
        return context.get_dummy_value()

    return types.void(data, at, to), emit


@intrinsic
def _store_eight(typing_context, data, at, word):
    """The first byte is the lowest one of the word."""

    def emit(context, builder, signature, arguments):
        _store(builder, *arguments)
        return context.get_dummy_value()

    return types.void(data, at, word), emit


@intrinsic
def _eight_bits_first(typing_context, data, at):
    """Eight bytes as a number whose upper bits are the first byte."""

    def emit(context, builder, signature, arguments):
        return builder.bswap(_word_at(builder, *arguments))

    return types.uint64(data, at), emit


def _word_at(builder: ir.IRBuilder, data: ir.Value, at: ir.Value) -> ir.Value:
    word = builder.load(builder.bitcast(builder.gep(data, [at]), ir.IntType(64).as_pointer()))
    word.align = 1
    return word


def _store(builder: ir.IRBuilder, data: ir.Value, at: ir.Value, word: ir.Value) -> None:
    start = builder.bitcast(builder.gep(data, [at]), ir.IntType(64).as_pointer())
    builder.store(word, start).align = 1


def lzw(source, size, target, wanted, table):
    """Unfold `size` bytes of `source` to `wanted` bytes of `target`, which has eight more behind them.

    Codes come from their upper bits on, and get longer one code early, as TIFF 6.0 has it (section 13). `table` has
    room for twice 4096 numbers: of each code its first eight bytes, and where it begins << 16 | how long it is. Returns
    how many bytes it were, or -1 where a code makes no sense.
    """
    for code in range(256):
        table[2 * code], table[2 * code + 1] = uint64(code), uint64(1)
    bits, held, at, width, made, free = uint64(0), int64(0), int64(0), int64(9), int64(0), int64(_FIRST)
    before, length = uint64(0), int64(0)  # the string before; none where it has no length
    while made < wanted:
        if held < width:
            if at + 8 <= size:
                bits |= _eight_bits_first(source, at) >> uint64(held)
                at += (63 - held) >> 3
                held |= 56
            else:
                while held <= 56 and at < size:
                    bits |= uint64(source[at]) << uint64(56 - held)
                    held += 8
                    at += 1
                if held < width:
                    return made
        code = int64(bits >> uint64(64 - width))
        bits <<= uint64(width)
        held -= width
        if code == _CLEAR:
            width, free, length = int64(9), int64(_FIRST), int64(0)
            continue
        if code == _END:
            return made
        if length > 0:
            if free >= _CODES or code > free:
                return -1
            string = before
            if length < 8:
                first = before if code == free else table[2 * code]
                string |= (first & uint64(255)) << uint64(8 * length)
            table[2 * free] = string
            table[2 * free + 1] = uint64(made - length) << uint64(16) | uint64(length + 1)
            free += 1
            if free > (1 << width) - 2 and width < 12:
                width += 1
        elif code >= free:
            return -1
        before, place = table[2 * code], table[2 * code + 1]
        length = int64(place & uint64(0xFFFF))
        if made + length > wanted:
            return -1
        _store_eight(target, made, before)
        for i in range(8, length, 8):
            _copy_eight(target, int64(place >> uint64(16)) + i, made + i)
        made += length
    return made


def functions() -> dict[str, Any]:
    """Compile them."""
    return {"lzw": cfunc(_SIGNATURE, error_model="numpy", forceinline=True)(lzw)}
