"""The walk through a baseline JPEG's coded data as numba compiles it; `codecs.jpeg_slices` loads it, and says why."""

from typing import Any

from numba import cfunc, int64, uint8, uint64

_BYTES, _SHORTS, _NUMBERS = "CPointer(uint8)", "CPointer(int16)", "CPointer(int64)"
_SIGNATURE = f"int64({_BYTES}, int64, {_NUMBERS}, {_SHORTS}, {_NUMBERS}, {_NUMBERS}, int64, {_BYTES})"


def walk(source, size_of_source, state, codes, layout, dc_codes, units, target):
    """Pass over so many MCUs of entropy-coded `source` (ITU-T T.81, F.2.2), from where `state` stands; update it.

    `source` is bytes with stuffed zeros, `size_of_source` of them at most: it ends before a marker. `state`: the byte
    to be read next; how many bits were read and not used, and these; the last DC value of each of four components; the
    bits that fill no byte of `target` yet, and how many; how many bytes of it are filled; how many bits behind the end
    were read (as ones); where the end is, or 0 if it was not reached.

    `codes`: for the DC tables 0 to 3, then the AC tables 0 to 3, for each 16 bits that may follow length << 8 | symbol,
    or 0; behind all of these the same for each 10 bits that may follow, 0 where the code is longer. `layout`: how many
    blocks an MCU has; of each of ten the component; the DC table; the AC table. `dc_codes`: of each DC table code and
    length of each of 16 categories.

    If `target` is not at address 0 (a `state` whose end is -1 says so), what is passed over is written there, with the
    first DC value of each component coded as if it came after none. Returns 0, or -1 where the data makes no sense.
    """
    at, held, bits = int64(state[0]), int64(state[1]), uint64(state[2])
    out, pending, filled = uint64(state[7]), int64(state[8]), int64(state[9])
    beyond, end = int64(state[10]), size_of_source
    writing = state[11] == -1
    ended = state[11] > 0
    if ended:
        end = state[11]
    afresh = int64(15)
    blocks = layout[0]
    for _ in range(units):
        for block in range(blocks):
            component = layout[1 + block]
            k = int64(0)
            while k < 64:
                if held < 32:
                    word, plain = uint64(0), False
                    if at + 4 <= end:
                        word = (uint64(source[at]) << uint64(24)) | (uint64(source[at + 1]) << uint64(16))
                        word |= (uint64(source[at + 2]) << uint64(8)) | uint64(source[at + 3])
                        flipped = word ^ uint64(0xFFFFFFFF)
                        plain = ((flipped - uint64(0x01010101)) & word & uint64(0x80808080)) == 0
                    if plain:
                        bits = (bits << uint64(32)) | word
                        held += 32
                        at += 4
                    else:
                        while held <= 48:
                            byte = uint64(255)
                            if at >= end:
                                beyond += 8
                                ended = True
                                if beyond > 64:
                                    return int64(-1)
                            else:
                                byte = uint64(source[at])
                                if byte != 255:
                                    at += 1
                                elif at + 1 < end and source[at + 1] == 0:
                                    at += 2
                                else:  # a marker
                                    end = at
                                    ended = True
                                    beyond += 8
                                    if beyond > 64:
                                        return int64(-1)
                            bits = (bits << uint64(8)) | byte
                            held += 8
                ahead = int64((bits >> uint64(held - 16)) & uint64(0xFFFF))
                table = layout[11 + block] if k == 0 else int64(4) + layout[21 + block]
                entry = int64(codes[524288 + (table << 10) + (ahead >> 6)])
                if entry == 0:
                    entry = int64(codes[(table << 16) + ahead])
                    if entry == 0:
                        return int64(-1)
                size = entry & 15
                length = (entry >> 8) + size
                piece = (bits >> uint64(held - length)) & ((uint64(1) << uint64(length)) - uint64(1))
                held -= length
                if k == 0:
                    if (entry & 255) > 11:
                        return int64(-1)
                    value = int64(piece & ((uint64(1) << uint64(size)) - uint64(1)))
                    if size and value < (int64(1) << (size - 1)):
                        value -= (int64(1) << size) - 1
                    value += state[3 + component]
                    state[3 + component] = value
                    if writing and (afresh >> component) & 1:
                        afresh ^= int64(1) << component
                        magnitude, size = abs(value), int64(0)
                        while magnitude:
                            magnitude >>= 1
                            size += 1
                        if size > 11:
                            return int64(-1)
                        if value < 0:
                            value += (int64(1) << size) - 1
                        at_code = 32 * layout[11 + block] + 2 * size
                        piece = uint64((dc_codes[at_code] << size) | value)
                        length = dc_codes[at_code + 1] + size
                        if dc_codes[at_code + 1] == 0:
                            return int64(-1)
                    k = 1
                elif (entry & 255) == 0:
                    k = 64
                else:
                    if size == 0 and (entry & 255) != 240:
                        return int64(-1)
                    k += ((entry >> 4) & 15) + 1
                    if k > 64:
                        return int64(-1)
                if writing:
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
    if held < beyond:
        return int64(-1)
    state[0], state[1] = at, held
    state[2] = int64(bits & ((uint64(1) << uint64(held)) - uint64(1)))
    state[7], state[8], state[9] = int64(out & ((uint64(1) << uint64(pending)) - uint64(1))), pending, filled
    state[10] = beyond
    if ended and not writing:
        state[11] = end
    return int64(0)


def functions() -> dict[str, Any]:
    """Compile it."""
    return {"walk": cfunc(_SIGNATURE, error_model="numpy")(walk)}
