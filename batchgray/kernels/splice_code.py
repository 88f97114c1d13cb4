"""The splicing of a JPEG's coded data as numba compiles it; `codecs.jpeg_bands` loads what came of it, and says why."""

from typing import Any

from numba import cfunc, int64, uint8, uint64

_BYTES, _NUMBERS = "CPointer(uint8)", "CPointer(int64)"
_SIGNATURE = f"int64({_BYTES}, int64, int64, int64, {_BYTES}, {_NUMBERS})"


def splice(source, size_of_source, passed_over, left_out, target, state):
    """Append the bits of entropy-coded `source` to what `state` stands for, into `target`; update `state`.

    Of the source the first `passed_over` bits (fewer than 32) and the last `left_out` (fewer than 8) don't count. It
    and `target` are bytes with stuffed zeros (T.81, B.1.1.5); `target` has room for twice the source and 16 more.
    `state`: the bits that fill no byte yet, and how many they are, fewer than 32.

    Returns how many bytes of `target` are filled, or -1 where `source` is too short for what does not count.
    """
    out, pending = uint64(state[0]), int64(state[1])
    at, filled, dropped = int64(0), int64(0), passed_over
    while at < size_of_source:
        if dropped == 0 and at + 4 <= size_of_source:
            word = (uint64(source[at]) << uint64(24)) | (uint64(source[at + 1]) << uint64(16))
            word |= (uint64(source[at + 2]) << uint64(8)) | uint64(source[at + 3])
            flipped = word ^ uint64(0xFFFFFFFF)
            if ((flipped - uint64(0x01010101)) & word & uint64(0x80808080)) == 0:  # no byte of it is 255
                out = (out << uint64(32)) | word
                pending += 32
                at += 4
            else:
                byte = uint64(source[at])
                at += 1 if byte != 255 else 2
                out = (out << uint64(8)) | byte
                pending += 8
        else:
            byte = uint64(source[at])
            at += 1 if byte != 255 else 2
            count = dropped if dropped < 8 else int64(8)
            dropped -= count
            out = (out << uint64(8 - count)) | (byte & (uint64(255) >> uint64(count)))
            pending += 8 - count
        if at >= size_of_source:
            out >>= uint64(left_out)
            pending -= left_out
        while pending >= 32:
            word = (out >> uint64(pending - 32)) & uint64(0xFFFFFFFF)
            flipped = word ^ uint64(0xFFFFFFFF)
            if ((flipped - uint64(0x01010101)) & word & uint64(0x80808080)) == 0:
                target[filled] = uint8(word >> uint64(24))
                target[filled + 1] = uint8((word >> uint64(16)) & uint64(255))
                target[filled + 2] = uint8((word >> uint64(8)) & uint64(255))
                target[filled + 3] = uint8(word & uint64(255))
                filled += 4
            else:
                for number in range(4):
                    byte = (word >> uint64(24 - 8 * number)) & uint64(255)
                    target[filled] = uint8(byte)
                    filled += 1
                    if byte == 255:
                        target[filled] = uint8(0)
                        filled += 1
            pending -= 32
    if dropped or pending < 0:
        return int64(-1)
    state[0], state[1] = int64(out & ((uint64(1) << uint64(pending)) - uint64(1))), pending
    return filled


def functions() -> dict[str, Any]:
    """Compile it."""
    return {"splice": cfunc(_SIGNATURE, error_model="numpy")(splice)}
