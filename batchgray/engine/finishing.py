"""The end of a round, when nothing is left of any share: its results are kept, and what led to them is removed.

    all parts accounted for --> results --> checkpoints gone --> R/finished --> plan, logs, tallies and marks gone

Whoever owns the plan log does it. A machine that is paused in between and wakes up late changes nothing: results are
made of what stands fast, and are put under names that are taken by then; all else was to be removed anyway.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from batchgray.checkpoints.place import PlaceCheckpoints
from batchgray.engine.board import Board, Followed
from batchgray.engine.share import plan_of
from batchgray.manifest import job_round, tally
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import Round
from batchgray.manifest.records import Image
from batchgray.manifest.results import Layers, Result, Totals
from batchgray.manifest.share_log import LogEntry
from batchgray.planning.replay import replayed
from batchgray.planning.shares import PlannedImage, Planner, Share
from batchgray.storage.base import Place

_AT_ONCE = 16  # requests that wait for their answers


def parts_left(board: Board, head: JobHead, reader: Planner, pause: Callable[[], None]) -> list[str]:
    """Parts that were split off shares, and that the board does not know yet. Raises DamagedLog, PlaceError.

    A tally tells how often a share was split; for one without, that is made up for.
    """
    found: list[str] = []
    names = {share.name for share in board.shares}
    for share in board.shares:
        pause()
        figures = share.figures or _made_up(board, head, reader, share)
        parts = (f"{share.name}-{number}" for number in range(1, figures.splits + 1))
        found += [part for part in parts if part not in names]
    return found


def _made_up(board: Board, head: JobHead, reader: Planner, share: Followed) -> tally.DoneTally:
    lineage = [board.log_of(name).catch_up() for name in job_round.lineage_of(share.name)]
    plan = plan_of(head, reader.share(job_round.number_of(share.name)), share.name, lineage)
    board.set_done(share.name, plan.tally)
    return plan.tally


class Finisher:
    """Ends a round on whose board all is done."""

    def __init__(
        self,
        place: Place,
        head: JobHead,
        round: Round,
        board: Board,
        reader: Planner,
        checkpoints: PlaceCheckpoints,
    ) -> None:
        self._place, self._head, self._round, self._board = place, head, round, board
        self._reader, self._checkpoints = reader, checkpoints

    def finish(self, kept: Totals, is_ours: Callable[[], bool], pause: Callable[[], None]) -> bool:
        """Whether it was done: not where `is_ours` says that another machine has the plan by now.

        `kept` is what the round has nothing to do with. `pause` is called now and then, and may raise.

        Raises BatchgrayError, PlaceError.
        """
        layers = Layers(self._place, self._head.prefix)
        layers.write(self._round.number, self._images(), self._results(pause), kept, pause)
        for output in self._checkpoints.left():
            pause()
            self._checkpoints.discard(output)
        if not is_ours():
            return False
        self._place.put_absent(self._round.finished, b"")
        self.tidy_up()
        return True

    def tidy_up(self) -> None:
        """Remove what a round that is over does not need. A log goes from its end, so that none ever has a gap."""
        with ThreadPoolExecutor(_AT_ONCE, "tidying") as threads:
            for kind in ("idle", "tally", "plan"):
                keys = [entry.key for entry in self._place.list(f"{self._round.prefix}/{kind}/")]
                list(threads.map(self._place.delete, keys))
            list(threads.map(self._remove_log, self._logs()))

    def _logs(self) -> Iterator[list[str]]:
        """The keys of each log."""
        keys: dict[str, list[str]] = {}
        for entry in self._place.list(f"{self._round.logs}/"):
            keys.setdefault(entry.key.rpartition("/")[0], []).append(entry.key)
        return iter(keys.values())

    def _remove_log(self, keys: list[str]) -> None:
        for key in reversed(keys):
            self._place.delete(key)

    def _images(self) -> int:
        return sum(share.figures.done + share.figures.failed for share in self._board.shares if share.figures)

    def _results(self, pause: Callable[[], None]) -> Iterator[Result]:
        """In the order of the names."""
        parts: dict[int, list[str]] = {}
        for share in self._board.shares:
            parts.setdefault(job_round.number_of(share.name), []).append(share.name)
        for number in sorted(parts):
            pause()
            share_of_plan = self._reader.share(number)
            entries = [entry for name in sorted(parts[number], key=_age) for entry in self._entries(name)]
            images = replayed(self._head, share_of_plan, entries, job_round.name_of(number)).images
            yield from map(_result, _inputs(share_of_plan), share_of_plan.images, images)

    def _entries(self, name: str) -> list[LogEntry]:
        return self._board.log_of(name).catch_up()


def _age(name: str) -> int:
    """What was split off tells of its images after what it was split off."""
    return name.count("-")


def _inputs(share: Share) -> list[int]:
    return [share.input] * len(share.images)


def _result(input: int, planned: PlannedImage, image: Image) -> Result:
    return Result(
        input=input,
        source=planned.source,
        output=planned.output,
        state="done" if image.state == "done" else "failed",
        size=planned.size,
        mtime_ns=planned.mtime_ns,
        etag=planned.etag,
        width=image.width,
        height=image.height,
        output_size=image.output_size,
        checksum=image.checksum,
        done_at_ms=image.done_at_ms,
        error=image.error,
        note=image.note,
    )
