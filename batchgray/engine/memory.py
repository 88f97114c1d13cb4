"""The memory that workers share: which of them gets how much of it, and when."""

import contextlib
import errno
from collections.abc import Iterable

from batchgray.engine.worker_handle import WorkerHandle
from batchgray.planes import slots
from batchgray.workers.messages import GiveBack, Granted, Refused

# What to do where a limit of the system is reached.
REMEDIES = {
    errno.EMFILE: "raise ulimit -n, or use fewer --workers",
    errno.ENFILE: "use fewer --workers",
    errno.EFBIG: "raise ulimit -f",
    errno.ENOMEM: "use fewer --workers",
}

_ON_THE_WAY_BYTES = 64 << 20
_SHARE_ON_THE_WAY = 8


def on_the_way_bytes(limit: int, workers: int) -> int:
    """What one of so many workers on a place gets for inputs fetched ahead and for outputs that wait for an answer.

    An eighth of the `limit` for all, at most: more than hides a store's latency does nothing.
    """
    return min(_ON_THE_WAY_BYTES, limit // (_SHARE_ON_THE_WAY * workers))


def grant_memory(workers: Iterable[WorkerHandle], limit: int) -> None:
    """Answer those that wait for memory, first come first served, within `limit` bytes for all together.

    A waiting or idle worker holds nothing in its slot that it still needs, and gives it up when another one is short.
    So the first in the queue always gets what it asked for once the others have finished what they have in hand.
    """
    workers = list(workers)
    waiting = [(worker, worker.asked) for worker in workers if worker.asked]
    for worker, asked in sorted(waiting, key=lambda pair: pair[0].asked_at):
        wanted = asked.slot_bytes - slots.EMPTY_SLOT_BYTES + asked.scratch_bytes
        if wanted > limit:
            _answer(worker, _refusal(wanted, f"over the limit of {limit / 1e6:,.0f} MB", "raise --memory"))
            continue
        others = [other for other in workers if other is not worker]
        if wanted + sum(other.held_bytes for other in others) > limit:
            _reclaim(others)
        if wanted + sum(other.held_bytes for other in others) > limit:
            return
        try:
            worker.resize(max(asked.slot_bytes, slots.EMPTY_SLOT_BYTES))
        except OSError as error:  # RLIMIT_FSIZE counts for nameless memory too
            remedy = REMEDIES.get(error.errno or 0, "free some memory")
            _answer(worker, _refusal(wanted, f"which can't be had: {error.strerror}", remedy))
            continue
        worker.scratch_bytes = asked.scratch_bytes
        _answer(worker, Granted(slot_bytes=worker.slot_bytes, scratch_bytes=worker.scratch_bytes))


def _refusal(wanted: int, why: str, remedy: str) -> Refused:
    return Refused(reason=f"needs {wanted / 1e6:,.0f} MB while it is converted, {why}", remedy=remedy)


def _reclaim(workers: list[WorkerHandle]) -> None:
    for worker in workers:
        if not worker.held_bytes or not (worker.asked or worker.idle):
            continue
        worker.resize(slots.EMPTY_SLOT_BYTES)
        worker.scratch_bytes = 0
        _send(worker, GiveBack(slot_bytes=worker.slot_bytes))


def _answer(worker: WorkerHandle, message: Granted | Refused) -> None:
    worker.asked = None
    _send(worker, message)


def _send(worker: WorkerHandle, message: GiveBack | Granted | Refused) -> None:
    with contextlib.suppress(OSError):  # it is dead; the end of its pipe tells
        worker.channel.send(message)
