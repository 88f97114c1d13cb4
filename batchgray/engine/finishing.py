"""The end of a round, when nothing is left of any share: its results are kept, and what led to them is removed.

    all parts accounted for --> results --> checkpoints gone --> R/finished --> plan, logs, tallies and marks gone

Whoever owns the plan log does it. A machine that is paused in between and wakes up late changes nothing: results are
made of what stands fast, and are put under names that are taken by then; all else was to be removed anyway.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from batchgray.checkpoints.place import PlaceCheckpoints
from batchgray.engine.board import Board, Followed
from batchgray.engine.share import SharePlan, plan_of
from batchgray.manifest import job_head, job_round, share_log, tally
from batchgray.manifest.job_head import JobHead
from batchgray.manifest.job_round import Round
from batchgray.manifest.layers import Layers
from batchgray.manifest.records import Image
from batchgray.manifest.results import Result, Totals
from batchgray.manifest.share_log import LogEntry
from batchgray.manifest.tally import PlannedTally
from batchgray.planning.planned import Share
from batchgray.planning.replay import replayed
from batchgray.planning.round_results import results_of
from batchgray.planning.shares import Planner
from batchgray.storage.base import Place, PlaceError
from batchgray.storage.folder import FolderPlace
from batchgray.storage.run_folder import FLIGHT_FOLDER

Read = TypeVar("Read")

_AT_ONCE = 16  # requests that wait for their answers
_PAGE = 1000  # keys that one LIST tells of
_TIDYING_SECONDS = 3600.0  # that it may take to remove what a round of a hundred million images leaves
_SHARES_AHEAD = 4  # that are read, with their logs, while the results of one are written


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
    figures = _by_the_logs(board, head, reader, share.name).tally
    board.set_done(share.name, figures)
    return figures


def planned_part(board: Board, head: JobHead, reader: Planner, name: str) -> PlannedTally:
    """The tally of a part that nobody has told of. Raises DamagedLog, PlaceError."""
    plan = _by_the_logs(board, head, reader, name)
    return PlannedTally(name, len(plan.members), sum(image.size for image in plan.images))


def _by_the_logs(board: Board, head: JobHead, reader: Planner, name: str) -> SharePlan:
    lineage = [board.log_of(each).catch_up() for each in job_round.lineage_of(name)]
    return plan_of(head, reader.share(job_round.number_of(name)), name, lineage)


def remove_checkpoints(checkpoints: PlaceCheckpoints, pause: Callable[[], None]) -> None:
    """Of images that failed after they were begun, and what machines left that died just after an output's put."""
    for output in checkpoints.left():
        pause()
        checkpoints.discard(output)


def tidy_up(place: Place, round: Round) -> None:
    """Remove what a round that is over does not need. A log goes from its end, so that none ever has a gap.

    For whoever has put the mark, and who finds that it died of this.
    """
    logs: dict[str, list[str]] = {}
    others: list[str] = []
    for entry in place.list(f"{round.prefix}/"):
        if entry.key.startswith(f"{round.logs}/"):
            logs.setdefault(entry.key.rpartition("/")[0], []).append(entry.key)
        elif entry.key != round.finished:
            others.append(entry.key)
    with ThreadPoolExecutor(_AT_ONCE, "tidying") as threads:
        list(threads.map(place.delete, others))
        list(threads.map(lambda keys: _remove_log(place, keys), logs.values()))
    _remove_empty(place, round.job)  # the checkpoints' folder, too


def tidy_up_later(place: Place, round: Round) -> None:
    """The same for one of many machines that find the round over, as whoever ended it may have died of this.

    Where there is still much, and the mark is young, it is left to who put it.
    """
    left = list(itertools.islice(place.list(f"{round.prefix}/"), _PAGE + 1))
    age = place.age(round.finished) if len(left) > _PAGE else None
    if age is None or age >= _TIDYING_SECONDS:
        tidy_up(place, round)


def remove_late(place: Place, round: Round, keys: Sequence[str]) -> None:
    """Remove what this machine put, perhaps after the mark: the newest first. All else is removed by who put the mark.

    A thousand machines find the mark at once; if each of them removed all, most of their requests would find nothing.
    """
    for key in reversed(keys):
        if key != round.finished:
            place.delete(key)
    _remove_empty(place, round.prefix)


def _remove_empty(place: Place, prefix: str) -> None:
    if isinstance(place, FolderPlace):
        with contextlib.suppress(PlaceError):  # another machine does so, too
            place.remove_empty(prefix)


def _remove_log(place: Place, keys: list[str]) -> None:
    for key in reversed(keys):
        place.delete(key)


def remove_overwritten(place: Place, job: str) -> None:
    """What is left of a job, but for the marks of its rounds: they keep off whoever worked on it, and wakes up late."""
    prefix = f"{FLIGHT_FOLDER}/{job}"
    others = [entry.key for entry in place.list(f"{prefix}/") if not entry.key.endswith("/finished")]
    with ThreadPoolExecutor(_AT_ONCE, "tidying") as threads:
        list(threads.map(place.delete, reversed(others)))
    if others:
        _remove_empty(place, prefix)


class Finisher:
    """Ends a round on whose board all is done. `totals` are those of the whole job, when `finish` has returned."""

    def __init__(
        self,
        place: Place,
        head: JobHead,
        round: Round,
        board: Board,
        reader: Planner,
        checkpoints: PlaceCheckpoints,
    ) -> None:
        self.totals = Totals()
        self._place, self._head, self._round, self._board = place, head, round, board
        self._reader, self._checkpoints = reader, checkpoints

    def finish(self, is_ours: Callable[[], bool], pause: Callable[[], None]) -> bool:
        """Whether it was done: not where `is_ours` says that another machine has the plan by now.

        `pause` is called now and then, and may raise.

        Raises BatchgrayError, PlaceError.
        """
        layers, plan = Layers(self._place, self._head.prefix), self._reader.end()
        if plan.images:
            with (
                ThreadPoolExecutor(_AT_ONCE, "reading") as threads,
                ThreadPoolExecutor(_SHARES_AHEAD, "ahead") as ahead,
            ):
                results = self._results(threads, ahead, pause)
                layers.write(self._round.number, plan.images, results, plan.all_kept, pause)
        remove_checkpoints(self._checkpoints, pause)
        if not is_ours():
            return False
        self.totals = layers.totals()
        job_head.tell_totals(self._place, self._head, self.totals)
        self._place.put_absent(self._round.finished, b"")
        if self._round.number > 1:
            layers.sweep()
        tidy_up(self._place, self._round)
        return True

    def _results(
        self, threads: ThreadPoolExecutor, ahead: ThreadPoolExecutor, pause: Callable[[], None]
    ) -> Iterator[Result]:
        """In the order of the names."""
        parts: dict[int, list[str]] = {}
        for share in self._board.shares:
            parts.setdefault(job_round.number_of(share.name), []).append(share.name)

        def read(number: int) -> tuple[Share, list[LogEntry]]:
            names = sorted(parts[number], key=_age)
            logs = (share_log.read_log(self._place, self._round.log(name), threads) for name in names)
            return self._reader.share(number), [entry for log in logs for entry in log]

        def shares() -> Iterator[tuple[Share, list[Image]]]:
            for share, entries in _read_ahead(ahead, read, self._reader.end().order):
                pause()
                yield share, replayed(self._head, share, entries, job_round.name_of(share.number)).images

        return results_of(shares())


def _read_ahead(threads: ThreadPoolExecutor, read: Callable[[int], Read], numbers: Iterable[int]) -> Iterator[Read]:
    waiting: deque[Future[Read]] = deque()
    for number in numbers:
        waiting.append(threads.submit(read, number))
        if len(waiting) > _SHARES_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _age(name: str) -> int:
    """What was split off tells of its images after what it was split off."""
    return name.count("-")
