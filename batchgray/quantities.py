"""Counts, times, sizes and rates as people write them."""

_SMALL_PIXELS = 500_000  # an image of fewer is a thumbnail


def images(count: int) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count:,} image{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def rounded_duration(seconds: float) -> str:
    """The two largest units: `45 s`, `3 min 20 s`, `2 h`, `3 d 4 h`."""
    left, parts = round(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        whole, left = divmod(left, length)
        if whole:
            parts.append(f"{whole} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def size(count: float) -> str:
    """Bytes as people write them, in powers of 1000: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def megapixels(pixels: float) -> str:
    """`0.2 MP`, `1,234 MP`."""
    return f"{_figure(pixels / 1e6)} MP"


def rate(pixels: float, count: int, seconds: float) -> str:
    """`31 MP/s`; of `count` small images, of which it says little, `38 MP/s, 580 images/s`. "" where no time passed."""
    if seconds <= 0:
        return ""
    small = count and pixels / count < _SMALL_PIXELS
    also = f", {_figure(count / seconds)} images/s" if small else ""
    return f"{_figure(pixels / 1e6 / seconds)} MP/s{also}"


def _figure(value: float) -> str:
    """Two digits or more."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"
