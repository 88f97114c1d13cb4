"""What the manifest says of a picture that is not all of its file, or of fewer bits: the same words for each format."""

from batchgray.codecs.limits import MOST_FRAMES


def depth_note(bits: int) -> str | None:
    """Of samples of more than 8 bits."""
    return f"the upper 8 of {bits} bits were taken" if bits > 8 else None


def frames_note(frames: int) -> str | None:
    """Of a file with more than one picture, of which the first is taken."""
    more = " or more" if frames == MOST_FRAMES else ""
    return f"the first of {frames}{more} frames or pages" if frames > 1 else None
