"""What becomes of transparency: the colour under it counts, or it is composited over a background."""

import re

import numpy as np

Colour = tuple[int, int, int]  # R, G, B of 0 to 255

IGNORED = "transparency was dropped: the colour under it counts (see --background)"

_NAME = re.compile(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})")
_ROWS_AT_ONCE_PIXELS = 1 << 16


def colour_of(background: str) -> Colour | None:
    """R, G and B of `#rrggbb`; None of `none`."""
    found = _NAME.fullmatch(background)
    return (int(found[1], 16), int(found[2], 16), int(found[3], 16)) if found else None


def is_neutral(background: Colour) -> bool:
    """Whether gray composited over it stays gray."""
    return len(set(background)) == 1


def put(values: np.ndarray, alpha: np.ndarray | None, background: Colour | None, target: np.ndarray) -> bool:
    """Put pixels into `target`, composited over `background` where there is one. Returns whether alpha was ignored.

    `values` has gray of shape (H, W) or colours of (H, W, 3), `alpha` is (H, W), `target` as `values` or with three
    channels where that has none; all uint8. A value v of alpha a over b is (a v + (255 - a) b) / 255, rounded.
    """
    if values.ndim < target.ndim:
        values = np.broadcast_to(values[..., None], target.shape)
    seen_through = alpha is not None and bool(alpha.min(initial=255) < 255)
    if alpha is None or background is None or not seen_through:
        _copy(values, target)
        return seen_through
    behind = np.array(background if target.ndim == 3 else background[0], np.uint32)
    rows = max(1, _ROWS_AT_ONCE_PIXELS // max(1, target.shape[1]))
    for top in range(0, len(target), rows):  # what is in between has four times the bytes
        part = slice(top, top + rows)
        cover = alpha[part].astype(np.uint32)
        if target.ndim == 3:
            cover = cover[..., None]
        target[part] = (cover * values[part] + (255 - cover) * behind + 127) // 255
    return False


def _copy(values: np.ndarray, target: np.ndarray) -> None:
    if values.ndim == 2 or values.flags.c_contiguous:
        target[...] = values
        return
    for channel in range(values.shape[2]):  # several times as fast as all at once, whose inner loop would be of three
        target[..., channel] = values[..., channel]
