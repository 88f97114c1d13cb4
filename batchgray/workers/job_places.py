"""Where a job's inputs and outputs are, as a worker is told (see `opened_places`)."""

import os

import msgspec

from batchgray.storage.urls import StoreOptions


class JobPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """Names of places, as bytes, and how stores are reached. `begun` is what the keys of checkpoints begin with.

    With `follow_links` links to folders are followed in the input.
    """

    input: bytes
    out: bytes
    begun: str
    stores: StoreOptions
    follow_links: bool = False


def packed(input: str, out: str, begun: str, stores: StoreOptions, follow_links: bool = False) -> bytes:
    """What a worker is told with `Setup.job`."""
    places = JobPlaces(
        input=os.fsencode(input), out=os.fsencode(out), begun=begun, stores=stores, follow_links=follow_links
    )
    return msgspec.msgpack.encode(places)
