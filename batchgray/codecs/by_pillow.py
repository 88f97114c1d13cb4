"""What is opened by Pillow, which is imported only then: other formats, and what a reader of our own does not read."""

from batchgray.codecs.opened import OpenedImage, ProbeInput
from batchgray.codecs.signatures import Format


def opened_by_pillow(kind: Format, given: ProbeInput) -> OpenedImage:
    """Raises ImageError."""
    from batchgray.codecs.pillow_probes import PROBES

    return PROBES[kind](given)
