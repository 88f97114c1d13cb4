"""The methods' formulas in whole numbers: what the kernels must equal."""

from typing import NamedTuple


class Weights(NamedTuple):
    """Gray = (red R + green G + blue B + rounding) // divisor."""

    red: int
    green: int
    blue: int
    rounding: int
    divisor: int

    def gray(self, red: int, green: int, blue: int) -> int:
        return (self.red * red + self.green * green + self.blue * blue + self.rounding) // self.divisor


BY_METHOD = {
    "bt601": Weights(30, 59, 11, 0, 100),  # ITU-R BT.601 in hundredths
    "bt709": Weights(2126, 7152, 722, 0, 10000),  # ITU-R BT.709 in ten-thousandths
    "luma": Weights(299, 587, 114, 500, 1000),  # the Y' of JFIF 1.02, for sources without a Y' plane of their own
}
