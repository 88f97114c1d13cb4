"""A share's images as its log tells of them."""

import itertools
from collections.abc import Sequence

from batchgray.manifest.job_head import JobHead
from batchgray.manifest.records import Image, Manifest
from batchgray.manifest.share_log import DamagedLog, LogEntry
from batchgray.planning.shares import Share


def replayed(head: JobHead, share: Share, entries: Sequence[LogEntry], log_name: str) -> Manifest:
    """A share's images as its log tells of them. Raises DamagedLog."""
    images = [
        Image(root=share.input, source=each.source, output=each.output, size=each.size, mtime_ns=each.version.mtime_ns)
        for each in share.images
    ]
    for change in itertools.chain.from_iterable(entry.changes for entry in entries):
        try:
            change.apply(images)
        except IndexError:
            raise DamagedLog(log_name, f"it tells of an image {change.image}") from None
    return manifest_for(head, images)


def manifest_for(head: JobHead, images: list[Image]) -> Manifest:
    """Some images of a job, as what a manifest would say of them."""
    return Manifest(
        run_id=head.job,
        options=head.options,
        max_pixels=head.max_pixels,
        output_root=".",
        input_roots=head.inputs,
        images=images,
    )
