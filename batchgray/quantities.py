"""Counts, times and sizes as people write them."""


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
