"""What a round came to, from its plan and what its logs tell, as the results that are kept of it."""

import heapq
from collections.abc import Iterable, Iterator, Sequence

from batchgray.manifest.records import Image
from batchgray.manifest.results import Result, order_of
from batchgray.planning.planned import PlannedImage, Share


def results_of(shares: Iterable[tuple[Share, Sequence[Image]]]) -> Iterator[Result]:
    """In the order of names, for `Layers.write`; a share at a time. All is listed, and all shares are done.

    `shares` come in the order of their names, each with what its images are now, by its logs.
    """
    for share, images in shares:
        worked = map(result_of, [share.input] * len(share.images), share.images, images)
        yield from heapq.merge(share.noted, worked, key=order_of)


def result_of(input: int, planned: PlannedImage, image: Image) -> Result:
    """What became of one image. What an earlier round made of one that failed is still there."""
    done = image.state == "done"
    return Result(
        input=input,
        source=planned.source,
        output=planned.output,
        state="done" if done else "failed",
        size=planned.size,
        mtime_ns=planned.mtime_ns,
        etag=planned.etag,
        width=image.width,
        height=image.height,
        output_size=image.output_size if done else None,
        checksum=image.checksum if done else planned.replaces or None,
        done_at_ms=image.done_at_ms if done else None,
        error=None if done else image.error,
        note=image.note,
    )
