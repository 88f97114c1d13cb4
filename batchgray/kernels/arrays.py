"""`batchgray.to_gray`: grayscale of an array in memory, by the arithmetic that makes the files."""

from typing import TYPE_CHECKING, Any, get_args

from batchgray import tiles
from batchgray.options import Method

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def to_gray(rgb: "NDArray[np.uint8] | NDArray[np.uint16]", method: Method = "bt601") -> "NDArray[np.uint8]":
    """The gray values of an image, exactly those that `batchgray run` writes.

    Parameters
    ----------
    rgb : ndarray of uint8 or uint16
        Of shape (H, W, 3): R, G, B. Of shape (H, W, 4): R, G, B and alpha, which is ignored (the colour under it
        counts). Gray, which keeps its values: (H, W), (H, W, 1), or (H, W, 2) with alpha. Any of H and W may be 0.
        Of uint16 the upper 8 bits count: `v >> 8`, before any weights. Any strides and byte order; never written to.
    method : {"bt601", "bt709", "luma"}
        - "bt601": (30 R + 59 G + 11 B) // 100, the weights of ITU-R BT.601
        - "bt709": (2126 R + 7152 G + 722 B) // 10000, those of ITU-R BT.709
        - "luma": (299 R + 587 G + 114 B + 500) // 1000, the Y' of JFIF 1.02. For a JPEG file `batchgray run` takes the
          file's own Y' plane instead, which decoding to R, G and B has rounded away.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        A new, contiguous array. The values are as encoded (gamma-compressed), in and out: 0 to 255.

    Raises
    ------
    TypeError
        `rgb` is no numpy array, or its dtype another. Floating point has no fixed range: scale it to 0 to 255 first.
    ValueError
        Another shape, or no such method.

    The first call loads the kernels, and on a machine's very first has numba compile them. The interpreter's lock is
    released while a kernel runs, so that threads can convert at the same time.
    """
    import numpy as np

    from batchgray.kernels import methods

    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
    if not isinstance(rgb, np.ndarray):
        raise TypeError(f"to_gray takes a numpy array of uint8 or uint16, not {type(rgb).__name__}")
    if rgb.dtype.kind != "u" or rgb.dtype.itemsize > 2:
        raise TypeError(f"to_gray takes uint8 or uint16, not {rgb.dtype}; scale other values to 0 to 255 first")
    if not (rgb.ndim == 2 or (rgb.ndim == 3 and 1 <= rgb.shape[2] <= 4)):
        raise ValueError(
            f"to_gray takes (H, W, 3) or (H, W, 4) in colour, (H, W), (H, W, 1) or (H, W, 2) in gray, not {rgb.shape}"
        )
    height, width = rgb.shape[:2]
    gray = np.empty((height, width), np.uint8)
    if rgb.ndim == 2 or rgb.shape[2] <= 2:
        gray[...] = _upper_bits(rgb if rgb.ndim == 2 else rgb[..., 0])
        return gray
    # By tiles, so that a copy (of what is not contiguous, or not uint8) stays in the processor's cache.
    rows = tiles.auto_rows(width)
    for index in range(tiles.tile_count(height, rows) if width else 0):
        tile = tiles.tile_at(index, height, rows)
        colours = _packed(rgb[tile.top : tile.bottom])
        methods.BY_METHOD[method](colours.reshape(-1), gray[tile.top : tile.bottom].reshape(-1))
    return gray


def _upper_bits(values: "NDArray[Any]") -> "NDArray[Any]":
    """Of uint8 or uint16, values of 0 to 255, of either type."""
    return values if values.dtype.itemsize == 1 else values >> 8


def _packed(pixels: "NDArray[Any]") -> "NDArray[np.uint8]":
    """R, G, B as the kernels take them: uint8, contiguous and writable."""
    import numpy as np

    if pixels.dtype == np.uint8 and pixels.shape[2] == 3 and pixels.flags.carray:
        return pixels
    packed = np.empty((*pixels.shape[:2], 3), np.uint8)
    for channel in range(3):  # eight times as fast as all at once, whose inner loop would be of three values
        packed[..., channel] = _upper_bits(pixels[..., channel])
    return packed
