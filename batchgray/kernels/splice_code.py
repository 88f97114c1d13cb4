"""The splicing of a JPEG's coded data as numba compiles it; `codecs.jpeg_bands` loads what came of it, and says why."""

from typing import Any

from numba import cfunc, int64, uint8, uint64

_BYTES, _NUMBERS = "CPointer(uint8)", "CPointer(int64)"
_SIGNATURE = f"int64({_BYTES}, int64, {_BYTES}, {_NUMBERS}, {_NUMBERS}, {_NUMBERS}, {_NUMBERS}, int64)"


def splice(source, size_of_source, target, state, dc, ac, dc_codes, blocks):
    """Append a band's entropy-coded `source` to what `state` stands for, into `target`; update `state`.

    `source` and `target` are bytes with stuffed zeros (T.81, B.1.1.5); `target` has room for twice the source and 64
    more. `state`: the bits that fill no byte yet, how many, the last DC value. `dc` and `ac`: for each 16 bits that may
    follow, length << 8 | symbol, or 0. `dc_codes`: code and length of each of 16 categories.

    Returns how many bytes of `target` are filled, or -1 where `source` does not hold `blocks` blocks.
    """
    bits, held, at = uint64(0), int64(0), int64(0)
    out, pending, filled = uint64(state[0]), int64(state[1]), int64(0)
    last_dc, own_dc = state[2], int64(0)
    for block in range(blocks):
        k = 0
        while k < 64:
            while held <= 48:
                byte = uint64(255)  # behind the end: as if filled up with ones
                if at < size_of_source:
                    byte = uint64(source[at])
                    at += 1 if byte != 255 else 2
                elif at > size_of_source + 8:
                    return int64(-1)
                else:
                    at += 1
                bits = (bits << uint64(8)) | byte
                held += 8
            ahead = int64((bits >> uint64(held - 16)) & uint64(0xFFFF))
            entry = dc[ahead] if k == 0 else ac[ahead]
            if entry == 0:
                return int64(-1)
            size = entry & 15
            length = (entry >> 8) + size
            piece = (bits >> uint64(held - length)) & ((uint64(1) << uint64(length)) - uint64(1))
            held -= length
            if k == 0:
                value = int64(piece & ((uint64(1) << uint64(size)) - uint64(1)))
                if size and value < (int64(1) << (size - 1)):
                    value -= (int64(1) << size) - 1  # T.81, F.2.2.1: EXTEND
                own_dc += value
                if block == 0:
                    difference = value - last_dc
                    magnitude, size = abs(difference), int64(0)
                    while magnitude:
                        magnitude >>= 1
                        size += 1
                    if difference < 0:
                        difference += (int64(1) << size) - 1
                    piece = uint64((dc_codes[2 * size] << size) | difference)
                    length = dc_codes[2 * size + 1] + size
                k = 1
            elif (entry & 255) == 0:
                k = 64  # EOB
            else:
                k += ((entry >> 4) & 15) + 1
            out = (out << uint64(length)) | piece
            pending += length
            while pending >= 8:
                pending -= 8
                byte = (out >> uint64(pending)) & uint64(255)
                target[filled] = uint8(byte)
                filled += 1
                if byte == 255:
                    target[filled] = uint8(0)
                    filled += 1
            out &= (uint64(1) << uint64(pending)) - uint64(1)
    state[0], state[1], state[2] = int64(out), pending, own_dc
    return filled


def functions() -> dict[str, Any]:
    """Compile it."""
    return {"splice": cfunc(_SIGNATURE, error_model="numpy")(splice)}
