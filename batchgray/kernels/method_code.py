"""The kernels as numba compiles them. Imported only where they have to be compiled: `methods` loads what came of it.

Each takes `rgb`, 3 n bytes of interleaved R, G, B, and writes `gray`, n bytes. No allocation, no validation.

Why flat: a tile is contiguous, and a 2-D loop was measured at a third of the speed. Why integers: the contract is
exact; floating point rounds, and has half the lanes of 16 bits. Why blocks of our own: numba widens uint16 to 64 bits
in every operation, and what LLVM narrows again in a plain loop ends in lanes of 32 bits, at half the speed.

A block of 32 pixels is three vectors of 32 bytes, one a channel; LLVM knows the shuffles that deinterleave a load with
a stride of three. Taken as 16 lanes of 16 bits, a vector holds the even pixels in the low bytes and the odd ones in
the high bytes. So `x & 255` and `x >> 8` widen, and `even | odd << 8` narrows, with no shuffle at all.

Proofs that 16 bits are enough:

- bt601: s = 30 R + 59 G + 11 B <= 25500 fits. For a divisor d, m = ceil(2^k / d) and e = m d - 2^k, (n m) >> k is
  exactly n // d for every n with n e < 2^k (Granlund and Montgomery 1994, theorem 4.2). d = 100, k = 23: m = 83887 =
  2^16 + 18351, e = 92, and 25500 * 92 < 2^23. m has 17 bits, so s m >> 23 is (s + (s * 18351 >> 16)) >> 7; the inner
  sum is <= 32640. (Without m's own 2^16, k = 19 would do, but LLVM joins its two shifts into one of 32 bits.)
- The others: with d the divisor and s the sum to be divided, let t be the sum with the weights 256 w // d in place of
  w, the rounding's too, where nothing is cut off. Then 256 s - d t is the sum of (256 w mod d) times a channel, and
  those three remainders add up to d: it is at least 0 and at most 255 d. So t / 256 is below s / d by less than 1, and
  t >> 8 is the quotient or one less. The remainder s - d (t >> 8) is below 2 d <= 20000, so it is right although only
  computed modulo 2^16, and its sign bit is clear; where it is d or more, the quotient is one more. t itself is
  <= 255 * 255 + 128.

Memory: a block asks for the bytes 4096 further on; the hardware looks ahead too little for three bytes in and one out.
With that, bt601 moves the bytes of a plane that no cache holds a quarter faster than memcpy does; see
docs/performance.md for the figures, and for what was tried.

The assembly was read once, on AVX2 with numba 0.68 (LLVM 20):
    python -c 'from batchgray.kernels import machine_code as code; print(code.assembly("method_code"))'
The loop of bt601 has 48 instructions for 32 pixels, on ymm registers: vpshufb, vpalignr and vpblendvb deinterleave,
vpand and vpsrlw widen, then vpmullw, vpaddw, vpmulhw; prefetcht0 looks ahead. bt709 has 65, luma 77.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import cfunc, types, uint32
from numba.extending import intrinsic

from batchgray.kernels import weights
from batchgray.kernels.weights import Weights

_BLOCK = 32  # pixels; 16 and 64 were slower
_AHEAD = 4096  # bytes that are asked for before they are needed; measured with planes that no cache holds
_LINE = 64
_BYTES = ir.VectorType(ir.IntType(8), _BLOCK)
_STREAM = ir.VectorType(ir.IntType(8), 3 * _BLOCK)
_LANES = ir.VectorType(ir.IntType(16), _BLOCK // 2)
_WIDE = ir.VectorType(ir.IntType(32), _BLOCK // 2)
_SIGNATURE = "void(CPointer(uint8), CPointer(uint8), intp)"


def _all(value: int, vector: ir.VectorType = _LANES) -> ir.Constant:
    return ir.Constant(vector, [value] * vector.count)


class Lanes:
    """16 unsigned numbers of 16 bits, as LLVM is to compute with them: modulo 2^16."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self._builder, self.value = builder, value

    def _new(self, value: ir.Value) -> "Lanes":
        return Lanes(self._builder, value)

    def __add__(self, other: "Lanes") -> "Lanes":
        return self._new(self._builder.add(self.value, other.value))

    def __sub__(self, other: "Lanes") -> "Lanes":
        return self._new(self._builder.sub(self.value, other.value))

    def __or__(self, other: "Lanes") -> "Lanes":
        return self._new(self._builder.or_(self.value, other.value))

    def __and__(self, mask: int) -> "Lanes":
        return self._new(self._builder.and_(self.value, _all(mask)))

    def __mul__(self, factor: int) -> "Lanes":
        return self._new(self._builder.mul(self.value, _all(factor)))

    def __rshift__(self, bits: int) -> "Lanes":
        return self._new(self._builder.lshr(self.value, _all(bits)))

    def __lshift__(self, bits: int) -> "Lanes":
        return self._new(self._builder.shl(self.value, _all(bits)))

    def plus(self, number: int) -> "Lanes":
        return self._new(self._builder.add(self.value, _all(number)))

    def high_product(self, factor: int) -> "Lanes":
        """The upper 16 bits of the product."""
        product = self._builder.mul(self._builder.zext(self.value, _WIDE), _all(factor, _WIDE))
        return self._new(self._builder.trunc(self._builder.lshr(product, _all(16, _WIDE)), _LANES))

    def plus_one_where(self, number: "Lanes", at_least: int) -> "Lanes":
        """One more in the lanes where `number`, below 2^15, is at least that."""
        where = self._builder.icmp_signed(">", number.value, _all(at_least - 1))
        return self._new(self._builder.sub(self.value, self._builder.sext(where, _LANES)))


def _sum(red: Lanes, green: Lanes, blue: Lanes, w: Weights) -> Lanes:
    total = red * w.red + green * w.green + blue * w.blue
    return total.plus(w.rounding) if w.rounding else total


def divided_by_100(s: Lanes) -> Lanes:
    """Exact up to 25500: the first proof."""
    return (s + s.high_product(18351)) >> 7


def _divided_at_once(red: Lanes, green: Lanes, blue: Lanes, w: Weights) -> Lanes:
    return divided_by_100(_sum(red, green, blue, w))


def estimating(w: Weights) -> Weights:
    """Weights in 256ths, rounded down."""
    red, green, blue, rounding = (256 * part // w.divisor for part in w[:4])
    return Weights(red, green, blue, rounding, 256)


def _estimated_and_mended(red: Lanes, green: Lanes, blue: Lanes, w: Weights) -> Lanes:
    """The second proof."""
    quotient = _sum(red, green, blue, estimating(w)) >> 8
    remainder = _sum(red, green, blue, w) - quotient * w.divisor
    return quotient.plus_one_where(remainder, at_least=w.divisor)


def _kernel(w: Weights, gray_of: Callable[[Lanes, Lanes, Lanes, Weights], Lanes]) -> Any:
    @intrinsic
    def convert_block(typing_context, rgb, gray, first):
        def emit(context, builder, signature, arguments):
            source, target, at = arguments
            start = builder.gep(source, [builder.mul(at, ir.Constant(at.type, 3))])
            _prefetch(builder, start)
            stream = builder.load(builder.bitcast(start, _STREAM.as_pointer()))
            stream.align = 1
            channels = [_channel(builder, stream, number) for number in range(3)]
            even = gray_of(*(channel & 255 for channel in channels), w)
            odd = gray_of(*(channel >> 8 for channel in channels), w)
            both = builder.bitcast((even | odd << 8).value, _BYTES)
            builder.store(both, builder.bitcast(builder.gep(target, [at]), _BYTES.as_pointer())).align = 1
            return context.get_dummy_value()

        return types.void(rgb, gray, first), emit

    red, green, blue, rounding, divisor = (uint32(part) for part in w)

    # error_model: without Python's check for a divisor of 0, LLVM sees that nothing can fail, and takes all calls out.
    @cfunc(_SIGNATURE, error_model="numpy")
    def kernel(rgb, gray, pixels):
        in_blocks = pixels - pixels % _BLOCK
        for first in range(0, in_blocks, _BLOCK):
            convert_block(rgb, gray, first)
        for i in range(in_blocks, pixels):
            gray[i] = (red * rgb[3 * i] + green * rgb[3 * i + 1] + blue * rgb[3 * i + 2] + rounding) // divisor

    return kernel


def _prefetch(builder: ir.IRBuilder, start: ir.Value) -> None:
    """Ask for the two cache lines of a later block; what is not there is no error."""
    number = ir.IntType(32)
    signature = ir.FunctionType(ir.VoidType(), [start.type, number, number, number])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [start.type], signature)
    to_read, into_every_cache, data = number(0), number(3), number(1)
    for line in range(2):
        later = builder.gep(start, [ir.Constant(ir.IntType(64), _AHEAD + line * _LINE)])
        builder.call(prefetch, [later, to_read, into_every_cache, data])


def _channel(builder: ir.IRBuilder, stream: ir.Value, number: int) -> Lanes:
    places = ir.Constant(ir.VectorType(ir.IntType(32), _BLOCK), list(range(number, 3 * _BLOCK, 3)))
    plane = builder.shuffle_vector(stream, ir.Constant(_STREAM, ir.Undefined), places)
    return Lanes(builder, builder.bitcast(plane, _LANES))


def functions() -> dict[str, Any]:
    """Compile the kernels."""
    ways = {"bt601": _divided_at_once, "bt709": _estimated_and_mended, "luma": _estimated_and_mended}
    return {method: _kernel(weights.BY_METHOD[method], gray_of) for method, gray_of in ways.items()}
