"""What the pixels must equal: the contract's formulas, one at a time in integers of any length."""

import numpy as np


def bt601(red, green, blue):
    return (30 * red + 59 * green + 11 * blue) // 100


def bt709(red, green, blue):
    return (2126 * red + 7152 * green + 722 * blue) // 10000


def luma(red, green, blue):
    return (299 * red + 587 * green + 114 * blue + 500) // 1000


BY_METHOD = {"bt601": bt601, "bt709": bt709, "luma": luma}


def gray(method: str, rgb: np.ndarray) -> np.ndarray:
    """`rgb` as a kernel takes it: uint8 of shape (3 n,). Returns int64 of shape (n,)."""
    red, green, blue = rgb.reshape(-1, 3).astype(np.int64).T
    return BY_METHOD[method](red, green, blue)


def eight_bits(value: int, bits: int) -> int:
    """A sample as 8 bits: the upper ones of more, the same share of fewer."""
    return value >> (bits - 8) if bits >= 8 else value * 255 // (2**bits - 1)


def over(value: int, alpha: int, behind: int) -> int:
    """A value of 0 to 255 composited over another, to the nearest integer; of two as near, the upper one."""
    return (2 * (value * alpha + behind * (255 - alpha)) + 255) // 510


def picture(
    samples: np.ndarray,
    bits: int,
    white_is_zero: bool = False,
    alpha: str = "",
    background: tuple[int, int, int] | None = None,
) -> np.ndarray:
    """What a file's samples show as 8-bit values, before any weights: (H, W, 3) of colours, else (H, W).

    `samples` are (H, W, channels); behind the first channel, or the first three, come others. `alpha` says what the
    next one is: "straight", "multiplied" (into the colours) or nothing that counts. Gray over a background that is none
    is a colour.
    """
    height, width, count = samples.shape
    channels = 3 if count >= 3 else 1
    shown = np.zeros((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            values = [int(sample) for sample in samples[y, x]]
            colour = [2**bits - 1 - value if white_is_zero else value for value in values[:channels]]
            colour = [eight_bits(value, bits) for value in colour]
            cover = eight_bits(values[channels], bits) if alpha else 255
            if alpha == "multiplied":
                colour = [min(255, value * 255 // cover) if cover else value for value in colour]
            if background is not None:
                colour = [over(value, cover, behind) for value, behind in zip(colour * 3, background, strict=False)]
            shown[y, x] = colour
    gray = channels == 1 and (background is None or not alpha or len(set(background)) == 1)
    return shown[..., 0] if gray else shown


def filtered(gray: np.ndarray, kinds: range) -> bytes:
    """The rows of a gray picture, each behind the filter of least sum and with its type before it (PNG, 9 and 12.7)."""
    made = bytearray()
    for y, row in enumerate(gray.tolist()):
        above = gray[y - 1].tolist() if y else [0] * len(row)
        choices = [bytes([kind, *_one_row(kind, row, above)]) for kind in kinds]
        made += min(choices, key=lambda choice: sum(min(byte, 256 - byte) for byte in choice[1:]))
    return bytes(made)


def _one_row(kind: int, row: list[int], above: list[int]) -> list[int]:
    made = []
    for x, value in enumerate(row):
        left, corner = (row[x - 1], above[x - 1]) if x else (0, 0)
        predicted = [0, left, above[x], (left + above[x]) // 2, _paeth(left, above[x], corner)][kind]
        made.append((value - predicted) % 256)
    return made


def _paeth(a: int, b: int, c: int) -> int:
    """PNG, 9.4, to the letter."""
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    if pa <= pb and pa <= pc:
        return a
    return b if pb <= pc else c


def unfiltered(filtered: list[list[int]], above: list[int], size: int) -> bytes:
    """Rows without their filters, whose types come first (PNG, 9.2); a pixel has `size` bytes."""
    made = bytearray()
    for kind, *row in filtered:
        line: list[int] = []
        for x, value in enumerate(row):
            left, corner = (line[x - size], above[x - size]) if x >= size else (0, 0)
            guess = [0, left, above[x], (left + above[x]) // 2, _paeth(left, above[x], corner)][kind]
            line.append((value + guess) % 256)
        made += bytes(line)
        above = line
    return bytes(made)


def lzw(data: bytes) -> bytes:
    """TIFF's LZW (TIFF 6.0, section 13): codes of 9 bits and more, from the highest on."""
    codes, strings, string, bits = [(256, 9)], {bytes([i]): i for i in range(256)}, b"", 9
    count = 258
    for byte in data:
        if string + bytes([byte]) in strings:
            string += bytes([byte])
            continue
        codes.append((strings[string], bits))
        strings[string + bytes([byte])] = count
        count, string = count + 1, bytes([byte])
        bits = max(9, count.bit_length())
        if count == 4094:
            codes.append((256, bits))
            strings, count, bits = {bytes([i]): i for i in range(256)}, 258, 9
    if string:
        codes.append((strings[string], bits))
        count += 1
    codes.append((257, max(9, count.bit_length())))
    text = "".join(f"{code:0{length}b}" for code, length in codes)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")
