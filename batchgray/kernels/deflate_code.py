"""A PNG's filters and its deflate as numba compiles them; `deflate` loads what came of it.

PNG (W3C, third edition): 9.2, the filter types; 9.4, the Paeth predictor. Deflate: RFC 1951.

What makes a photograph small is the filter, and then Huffman's codes of what is left: of the strings that LZ77 finds
in it there are few, and to look for them takes most of a deflater's time. So the only strings that are looked for here
are runs of one byte (distance 1), which is what a flat ground becomes behind a filter. They begin at a multiple of four
bytes behind the last one's end: so four literals are looked at, counted and written at a time.

All is computed with integers, so that the bytes are the same on every machine.
"""

from typing import Any

from llvmlite import ir
from numba import cfunc, int64, njit, types, uint8, uint32, uint64
from numba.extending import intrinsic

_BYTES, _NUMBERS = "CPointer(uint8)", "CPointer(int64)"
_FILTER = f"void({_BYTES}, {_BYTES}, int64, int64, int64, int64, {_BYTES}, {_BYTES})"
_ADLER = f"int64({_BYTES}, int64, int64)"
_DEFLATE = f"int64({_BYTES}, int64, {_BYTES}, {_NUMBERS}, {_NUMBERS})"

_END_OF_BLOCK, _LITERALS, _LENGTHS = 256, 286, 19
_LONGEST_RUN = 258
_ADLER_BASE = 65521  # RFC 1950
_ADLER_BYTES = 5552  # whose weighted sum is below 2**32, were they all 255
_LONGEST_CODE = 14  # bits; four of them and the 7 that are pending fit into 64
_LONGEST_LENGTH_CODE = 7

# Where things are in `scratch`, in numbers of 64 bits. _COUNTS has four tables of 512, so that a count that is not
# yet written never holds up the next one.
_COUNTS, _CODES, _LENGTH_COUNTS, _LENGTH_CODES, _HEADER, _WORK = 0, 2048, 2560, 2592, 2624, 3200
SCRATCH = 3200 + 1024

# A call that is not inlined could fail, as far as LLVM knows, and would bring Python's errors in.
_inline = njit(error_model="numpy", forceinline=True)


@intrinsic
def _load64(typing_context, data, at):
    """Eight bytes from anywhere, as a number."""

    def emit(context, builder, signature, arguments):
        source, index = arguments
        start = builder.bitcast(builder.gep(source, [index]), ir.IntType(64).as_pointer())
        word = builder.load(start)
        word.align = 1
        return word

    return types.uint64(data, at), emit


@intrinsic
def _store64(typing_context, data, at, value):
    """Eight bytes to anywhere."""

    def emit(context, builder, signature, arguments):
        target, index, number = arguments
        start = builder.bitcast(builder.gep(target, [index]), ir.IntType(64).as_pointer())
        builder.store(number, start).align = 1
        return context.get_dummy_value()

    return types.void(data, at, value), emit


@_inline
def _filtered(rows, at, above, up, width, kind, target):
    """One row behind one filter, without its type: `rows` from `at` on, below `above` from `up` on."""
    if kind == 0:
        for x in range(width):
            target[x] = rows[at + x]
    elif kind == 1:
        target[0] = rows[at]
        for x in range(1, width):
            target[x] = uint8(rows[at + x] - rows[at + x - 1])
    elif kind == 2:
        for x in range(width):
            target[x] = uint8(rows[at + x] - above[up + x])
    elif kind == 3:
        target[0] = uint8(rows[at] - (above[up] >> 1))
        for x in range(1, width):
            target[x] = uint8(rows[at + x] - ((int64(rows[at + x - 1]) + int64(above[up + x])) >> 1))
    else:
        target[0] = uint8(rows[at] - above[up])
        for x in range(1, width):
            left, over, corner = int64(rows[at + x - 1]), int64(above[up + x]), int64(above[up + x - 1])
            to_left, to_over = abs(over - corner), abs(left - corner)
            to_corner = abs(left + over - 2 * corner)
            nearest = corner
            if to_over <= to_corner:
                nearest = over
            if to_left <= to_over and to_left <= to_corner:
                nearest = left
            target[x] = uint8(rows[at + x] - nearest)


@_inline
def _size_of(data, width):
    """The sum of bytes taken as signed, without their signs."""
    total = int64(0)
    for x in range(width):
        value = int64(data[x])
        total += min(value, 256 - value)
    return total


def filter_rows(rows, above, width, count, first, last, target, work):
    """Filter `count` rows of `width` bytes: into `target`, each with its filter's type before it.

    `above` is the row above the first (zeros above an image). Of the filters from `first` to `last`, each row gets the
    one whose bytes, taken as signed, are the smallest: the least sum of absolute differences (PNG, 12.7). `work` has
    room for a row.
    """
    for y in range(count):
        over, up, to = rows, (y - 1) * width, y * (width + 1)
        if y == 0:
            over, up = above, int64(0)
        least = int64(1) << 62
        for kind in range(first, last + 1):
            _filtered(rows, y * width, over, up, width, kind, work)
            size = _size_of(work, width)
            if size < least:
                least = size
                target[to] = uint8(kind)
                for x in range(width):
                    target[to + 1 + x] = work[x]


@_inline
def _sort(s, at, count):
    """Shell's, with Ciura's gaps: there are 286 numbers at most."""
    for gap in (301, 132, 57, 23, 10, 4, 1):
        for i in range(gap, count):
            value, j = s[at + i], i
            while j >= gap and s[at + j - gap] > value:
                s[at + j] = s[at + j - gap]
                j -= gap
            s[at + j] = value


@_inline
def _depths(s, a, count):
    """Huffman's code lengths in place of `count` >= 2 sorted frequencies (Moffat and Katajainen 1995)."""
    s[a] += s[a + 1]
    root, leaf = 0, 2
    for node in range(1, count - 1):
        if leaf >= count or s[a + root] < s[a + leaf]:
            s[a + node] = s[a + root]
            s[a + root] = node
            root += 1
        else:
            s[a + node] = s[a + leaf]
            leaf += 1
        if leaf >= count or (root < node and s[a + root] < s[a + leaf]):
            s[a + node] += s[a + root]
            s[a + root] = node
            root += 1
        else:
            s[a + node] += s[a + leaf]
            leaf += 1
    s[a + count - 2] = 0
    for node in range(count - 3, -1, -1):
        s[a + node] = s[a + s[a + node]] + 1
    free, depth, root, leaf = 1, 0, count - 2, count - 1
    while free > 0:
        inner = 0
        while root >= 0 and s[a + root] == depth:
            inner += 1
            root -= 1
        while free > inner:
            s[a + leaf] = depth
            leaf -= 1
            free -= 1
        free = 2 * inner
        depth += 1


@_inline
def _codes(s, counts, symbols, longest, codes):
    """Codes of at most `longest` bits for the symbols that count: their bits from the last to the first << 4 | length.

    At least two of the symbols count. Where Huffman's codes are longer, the longest are cut off, and shorter ones made
    longer until Kraft's sum is 1 again.
    """
    used = int64(0)
    for symbol in range(symbols):
        s[codes + symbol] = 0
        if s[counts + symbol] > 0:
            s[_WORK + used] = s[counts + symbol] << 10 | symbol
            used += 1
    _sort(s, int64(_WORK), used)
    for i in range(used):
        s[_WORK + 300 + i] = s[_WORK + i] & 1023
        s[_WORK + i] >>= 10
    _depths(s, int64(_WORK), used)
    of_length, next_code = _WORK + 600, _WORK + 640
    for length in range(32):
        s[of_length + length] = 0
    for i in range(used):
        s[of_length + min(s[_WORK + i], longest)] += 1
    total = 0
    for length in range(1, longest + 1):
        total += s[of_length + length] << (longest - length)
    while total > 1 << longest:
        s[of_length + longest] -= 1
        length = longest - 1
        while s[of_length + length] == 0:
            length -= 1
        s[of_length + length] -= 1
        s[of_length + length + 1] += 2
        total -= 1
    i, code = used - 1, 0
    for length in range(1, longest + 1):  # the most frequent first
        for _ in range(s[of_length + length]):
            s[codes + s[_WORK + 300 + i]] = length
            i -= 1
        code = (code + s[of_length + length - 1]) << 1 if length > 1 else 0
        s[next_code + length] = code
    for symbol in range(symbols):
        length = s[codes + symbol]
        if length > 0:
            code, turned = s[next_code + length], 0
            s[next_code + length] += 1
            for _ in range(length):
                turned = turned << 1 | code & 1
                code >>= 1
            s[codes + symbol] = turned << 4 | length


@_inline
def _run_begins(data, i, size):
    """Whether the byte before `i` comes eight times more. Shorter runs make photographs larger, and take longer."""
    return 0 < i <= size - 8 and _load64(data, i) == uint64(data[i - 1]) * uint64(0x0101010101010101)


@_inline
def _run_at(data, i, size):
    """How often the byte before `i` comes again from there on, as far as one string goes."""
    end, j = min(size, i + _LONGEST_RUN), i
    while j < end and data[j] == data[i - 1]:
        j += 1
    return j - i


@_inline
def _extra_bits(length):
    """Of a string's length (RFC 1951, 3.2.5)."""
    if length == _LONGEST_RUN:
        return 0
    bits = 0
    while (length - 3) >> bits >= 8:
        bits += 1
    return bits


@_inline
def _length_symbol(length, bits):
    return 285 if length == _LONGEST_RUN else 257 + 4 * bits + ((length - 3) >> bits)


@_inline
def _count(data, size, s):
    """How often each symbol of a block comes, into `s`."""
    for i in range(4 * 512):
        s[_COUNTS + i] = 0
    i = int64(0)
    while i + 4 <= size:
        if _run_begins(data, i, size):
            length = _run_at(data, i, size)
            s[_COUNTS + _length_symbol(length, _extra_bits(length))] += 1
            i += length
        else:
            s[_COUNTS + int64(data[i])] += 1
            s[_COUNTS + 512 + int64(data[i + 1])] += 1
            s[_COUNTS + 1024 + int64(data[i + 2])] += 1
            s[_COUNTS + 1536 + int64(data[i + 3])] += 1
            i += 4
    while i < size:
        s[_COUNTS + int64(data[i])] += 1
        i += 1
    for symbol in range(256):
        s[_COUNTS + symbol] += s[_COUNTS + 512 + symbol] + s[_COUNTS + 1024 + symbol] + s[_COUNTS + 1536 + symbol]
    s[_COUNTS + _END_OF_BLOCK] = 1


@_inline
def _put(target, state, number, length):
    """Append `length` <= 57 bits. `state`: the bits that fill no byte yet, how many, the bytes filled."""
    bits, held = uint64(state[0]) | uint64(number) << uint64(state[1]), state[1] + length
    _store64(target, state[2], bits)
    state[2] += held >> 3
    state[0] = int64(bits >> uint64(held & ~7))
    state[1] = held & 7


@_inline
def _in_order(i):
    """16, 17, 18, 0, 8, 7, 9, 6, 10, 5, ... 1, 15 (RFC 1951, 3.2.7)."""
    if i < 4:
        return (16 + i) % 19
    return 8 + (i - 4) // 2 if i % 2 == 0 else 7 - (i - 5) // 2


@_inline
def _length_at(s, i, literals):
    """The code length of the i-th symbol of both alphabets; of the distances there are two, of one bit each."""
    return s[_CODES + i] & 15 if i < literals else 1


@_inline
def _head(s, target, state):
    """A block's head: its type, and the lengths of its codes (RFC 1951, 3.2.7)."""
    literals = int64(_LITERALS)
    while s[_CODES + literals - 1] == 0:
        literals -= 1
    for symbol in range(_LENGTHS):
        s[_LENGTH_COUNTS + symbol] = 0
    i, count = 0, 0
    while i < literals + 2:
        length, run = _length_at(s, i, literals), 1
        while i + run < literals + 2 and run < 138 and _length_at(s, i + run, literals) == length:
            run += 1
        token, extra = length, 0
        if length == 0 and run >= 11:
            token, extra = 18, run - 11
        elif length == 0 and run >= 3:
            token, extra = 17, run - 3
        elif i > 0 and run >= 3 and _length_at(s, i - 1, literals) == length:
            run = min(run, 6)
            token, extra = 16, run - 3
        else:
            run = 1
        s[_LENGTH_COUNTS + token] += 1
        s[_HEADER + count] = extra << 8 | token
        i += run
        count += 1
    _codes(s, int64(_LENGTH_COUNTS), int64(_LENGTHS), int64(_LONGEST_LENGTH_CODE), int64(_LENGTH_CODES))
    last = _LENGTHS
    while s[_LENGTH_CODES + _in_order(last - 1)] == 0:
        last -= 1
    _put(target, state, (last - 4) << 13 | 1 << 8 | (literals - 257) << 3 | 2 << 1, 17)
    for i in range(last):
        _put(target, state, s[_LENGTH_CODES + _in_order(i)] & 15, 3)
    for i in range(count):
        token, extra = s[_HEADER + i] & 255, s[_HEADER + i] >> 8
        code = s[_LENGTH_CODES + token]
        _put(target, state, code >> 4, code & 15)
        _put(target, state, extra, 7 if token == 18 else 3 if token == 17 else 2 if token == 16 else 0)


@_inline
def _pair(s, first, second):
    """The codes of two literals, one after the other, and how many bits they have."""
    one, other = uint64(s[_CODES + int64(first)]), uint64(s[_CODES + int64(second)])
    bits = one & uint64(15)
    return one >> uint64(4) | other >> uint64(4) << bits, bits + (other & uint64(15))


def deflate(data, size, target, state, s):
    """Append `data` to a stream as a block of its own, which is not the last one.

    `target` has room for twice the data and 1024 bytes more. `state`: the bits that fill no byte yet, how many, the
    bytes filled; the first two are what the block before left. `s` is the scratch. Returns the bytes filled.
    """
    state[2] = 0
    _count(data, size, s)
    _codes(s, int64(_COUNTS), int64(_LITERALS), int64(_LONGEST_CODE), int64(_CODES))
    _head(s, target, state)
    bits, held, filled = uint64(state[0]), uint64(state[1]), state[2]
    i = int64(0)
    while i + 4 <= size:
        if _run_begins(data, i, size):
            length = _run_at(data, i, size)
            extra = _extra_bits(length)
            code = uint64(s[_CODES + _length_symbol(length, extra)])
            bits |= code >> uint64(4) << held
            held += code & uint64(15)
            bits |= uint64((length - 3) & ((1 << extra) - 1)) << held
            held += uint64(extra + 1)  # the distance's code is a bit of 0
            i += length
        else:
            # Two pairs, then both together: so only one shift waits for what came before.
            low, low_bits = _pair(s, data[i], data[i + 1])
            high, high_bits = _pair(s, data[i + 2], data[i + 3])
            bits |= (low | high << low_bits) << held
            held += low_bits + high_bits
            i += 4
        _store64(target, filled, bits)
        filled += int64(held >> uint64(3))
        bits >>= held & uint64(56)
        held &= uint64(7)
    state[0], state[1], state[2] = int64(bits), int64(held), filled
    while i < size:
        code = s[_CODES + int64(data[i])]
        _put(target, state, code >> 4, code & 15)
        i += 1
    code = s[_CODES + _END_OF_BLOCK]
    _put(target, state, code >> 4, code & 15)
    return state[2]


def adler32(data, size, before):
    """The checksum of a zlib stream (RFC 1950), going on from `before`."""
    a, b, at = before & 0xFFFF, before >> 16, int64(0)
    while at < size:
        count = min(size - at, _ADLER_BYTES)
        plain, weighted = uint32(0), uint32(0)
        for i in range(count):
            plain = uint32(plain + data[at + i])
            weighted = uint32(weighted + uint32(count - i) * data[at + i])
        b = (b + count * a + int64(weighted)) % _ADLER_BASE
        a = (a + int64(plain)) % _ADLER_BASE
        at += count
    return b << 16 | a


def functions() -> dict[str, Any]:
    """Compile them."""
    types_of = {"filter_rows": (_FILTER, filter_rows), "deflate": (_DEFLATE, deflate), "adler32": (_ADLER, adler32)}
    return {
        name: cfunc(signature, error_model="numpy", forceinline=True)(code)
        for name, (signature, code) in types_of.items()
    }
