"""A fleet of joined machines: the real board, share log and lease code over a simulated store, with a clock of its own.

Real are the board, the logs of shares and of the plan, the tallies and the constants of the lease: every entry, every
look and every attempt to take a share is made by the code that machines run, against a store that is keys in memory.

Simulated are the store (each request is counted, and costs its machine --latency), the machines (they come up, live
for so long, are replaced, hear a notice or not), the time, and the work: images are units of a share, and what is done
is so much of it, no pixels. The list is there at the beginning. Calls of one machine are not interleaved with those of
others (that is what `tests/support/model.py` tries). A machine that works acts every TICK_SECONDS, and a real one
syncs every SYNC_SECONDS: so its syncs are counted ENTRIES times, and a LIST tells of so many fewer entries of logs.
Only when each share was taken, so that machines may be idle, it acts as often as a real one looks for them.

Computed, and not simulated, are the listing and the end: --plan-rate and --results-rate are what one core was measured
to do (`planning.py`), and neither is done by more than one machine at a time.
"""

import bisect
import heapq
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple
from unittest import mock

from batchgray.engine import board as board_module
from batchgray.engine import pace, share
from batchgray.engine.board import Board, Taken
from batchgray.engine.idle_mark import IdleMark
from batchgray.manifest import job_round, share_log, tally
from batchgray.manifest.job_round import Round
from batchgray.manifest.records import ImageChange
from batchgray.manifest.share_log import ShareLost
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.notices.smq import POLL_SECONDS
from batchgray.planning.shares import SHARE_IMAGES
from batchgray.storage.base import Entry, Put
from batchgray.storage.memory import MemoryPlace

ROUND = Round(".batchgray/simulated", 1)
TICK_SECONDS = 10.0
SYNC_SECONDS = 1.0  # between two syncs of a machine that works (see `ledger`)
ENTRIES = round(TICK_SECONDS / SYNC_SECONDS)  # that a real log has where one here has one
PLAN_SECONDS = share_log.RENEW_SECONDS / 2  # between two looks at the plan's log (see `plan_keeper`)
BOOT_SECONDS = 120.0
PAGE = 1000  # keys that one LIST tells of
AT_ONCE, SHARES_AHEAD = 16, 4  # requests for logs, and for shares, of who ends a round (see `finishing`)
LAST = chr(sys.maxunicode)  # follows all that keys have
BILLED = ("PUT", "LIST", "GET", "HEAD")


class Setting(NamedTuple):
    """A fleet and its work. `life` is the mean of lifetimes, in seconds; None: nobody dies. Prices are in USD."""

    nodes: int
    shares: int
    share_images: int
    images_a_second: float
    life: float | None
    heard: bool
    latency: float = 0.02
    seed: int = 1
    put_price: float = 0.005  # of a thousand PUT and LIST
    get_price: float = 0.0004  # of a thousand GET and HEAD
    node_price: float = 0.41056  # of a machine's hour
    plan_rate: float = 138_000.0  # images a second
    results_rate: float = 117_000.0


class Store(MemoryPlace):
    """Counts requests by kind; its entries are in order, so that what machines list is there already."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()
        self._keys: list[str] = []
        self._entries: list[Entry] = []  # of the same keys

    def __contains__(self, key: str) -> bool:
        """No request: what the simulation knows."""
        return key in self._objects

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Pages are asked for as they are read."""
        return chain.from_iterable(self._pages(prefix, after))

    def _pages(self, prefix: str, after: str) -> Iterator[Sequence[Entry]]:
        page = PAGE // ENTRIES if prefix.startswith(ROUND.logs) else PAGE
        begin = bisect.bisect_right(self._keys, after) if after > prefix else bisect.bisect_left(self._keys, prefix)
        end = bisect.bisect_left(self._keys, prefix + LAST, begin)
        self.requests["LIST"] += 1
        yield self._entries[begin : min(begin + page, end)]
        for at in range(begin + page, end, page):
            self.requests["LIST"] += 1
            yield self._entries[at : min(at + page, end)]

    def stat(self, key: str) -> Entry:
        self.requests["HEAD"] += 1
        return super().stat(key)

    def get(self, key: str, *given) -> bytes:
        self.requests["GET"] += 1
        return super().get(key, *given)

    def put_absent(self, key: str, content) -> Put:
        self.requests["PUT"] += 1
        return super().put_absent(key, content)

    def put(self, key: str, content) -> None:
        self.requests["PUT"] += 1
        super().put(key, content)

    def delete(self, key: str) -> None:
        self.requests["DELETE"] += 1
        if key in self:
            at = bisect.bisect_left(self._keys, key)
            del self._keys[at], self._entries[at]
        super().delete(key)

    def _store(self, key: str, data: bytes) -> None:
        is_new = key not in self
        super()._store(key, data)
        at = bisect.bisect_left(self._keys, key)
        self._keys[at : at + (not is_new)] = [key]
        self._entries[at : at + (not is_new)] = [self._entry(key)]


class Node:
    """A machine from its start to its end: `act` does what is due, and says when it is to be called again."""

    def __init__(self, fleet: "Fleet", name: str, now: float, dies_at: float) -> None:
        self.name, self.started_at, self.dies_at = name, now, dies_at
        self._fleet, self._store = fleet, fleet.store
        self._board = Board(fleet.store, ROUND, name, lambda: fleet.now, alone=False)
        self._plan_log = self._board.plan_log()
        self._taken: Taken | None = None
        self._left = self._untold = 0.0
        self._done = self._parts = 0
        self._worked_until = self._plan_looked_at = now
        self._look_at = 0.0
        self._idle_since: float | None = now  # None while it works
        self._mark = IdleMark(fleet.store, ROUND, lambda: fleet.now)

    def act(self) -> float | None:
        """None at its end."""
        before = self._store.requests.total()
        self._keep_plan()
        pause = self._work() if self._taken else self._seek()
        if pause is None:
            return None
        asked = self._store.requests.total() - before
        return self._fleet.now + max(pause, asked * self._fleet.setting.latency)

    def die(self) -> None:
        """With its share and the plan given back, where it heard of it."""
        fleet = self._fleet
        self._mark.take_off()
        if fleet.setting.heard and self._plan_log.is_ours:
            self._plan_log.sync("free")
        if not self._taken:
            return
        self._progress()
        if fleet.setting.heard:
            self._tell("free")
        else:
            lost = min(self._untold, fleet.setting.images_a_second * SYNC_SECONDS)
            fleet.lost_images += lost
            self._untold -= lost
            self._tell("renew")

    # the plan, as its keeper does

    def _keep_plan(self) -> None:
        log = self._plan_log
        try:
            if log.is_ours:
                if log.unsynced:
                    log.sync()
            elif not log.looked_within(PLAN_SECONDS):
                log.catch_up()
                log.take()
                looks = (self._fleet.now - self._plan_looked_at) // PLAN_SECONDS
                self._fleet.more["LIST"] += max(0.0, looks - 1)
                self._plan_looked_at = self._fleet.now
        except ShareLost:
            pass  # another has it

    # to find a share

    def _seek(self) -> float | None:
        before = self._store.requests.total()
        taken = self._find()
        asked = self._store.requests.total() - before
        self._fleet.search_requests += asked
        self._fleet.longest_search = max(self._fleet.longest_search, asked)
        if taken is not None:
            self._mark.take_off()
            self._begin(taken)
            return self._next_tick()
        if self._board.all_done and self._plan_log.is_ours:
            self._store.put_absent(ROUND.finished, b"")
        if self._board.over or ROUND.finished in self._store:
            return None
        self._mark.put({share.name: share.left for share in self._board.held})
        return self._look_at - self._fleet.now

    def _find(self) -> Taken | None:
        """As the round's loop does: tries while there seems to be one, and a look where there is none."""
        if self._idle_since is None:
            self._idle_since = self._fleet.now
        taken = self._board.take() if self._look_at else None
        while taken is None:
            if self._look_at > self._fleet.now and not self._board.may_take:
                return None
            self._look()
            if self._board.over or not self._board.may_take:
                return None
            taken = self._board.take()
        return taken

    def _look(self) -> None:
        before = self._store.requests.total()
        self._board.look()
        took = (self._store.requests.total() - before) * self._fleet.setting.latency
        self._look_at = self._fleet.now + pace.idle_seconds(self._fleet.now - self._idle_since, took)

    def _begin(self, taken: Taken) -> None:
        if not taken.entries:
            tally.put_taken(self._store, ROUND, taken.name)
        self._fleet.begun.add(job_round.number_of(taken.name))
        self._idle_since = None
        entries = taken.entries
        self._taken, self._worked_until = taken, self._fleet.now
        self._done = sum(change.tiles_done for entry in entries for change in entry.changes)
        splits = [entry.split[0] for entry in entries if entry.split]
        self._parts = len(splits)
        self._left = self._fleet.size_of(taken.name) - sum(splits) - self._done
        self._untold = 0.0
        self._fleet.more["GET"] += 1 + (len(entries) - len(splits)) * (ENTRIES - 1)  # the share, and its log

    # to work

    def _next_tick(self) -> float:
        left = self._seconds_left
        tick = pace.split_seconds(left) if self._fleet.all_begun else TICK_SECONDS
        return min(tick, max(0.01, left))

    @property
    def _seconds_left(self) -> float:
        return self._left / self._fleet.setting.images_a_second

    def _progress(self) -> None:
        seconds = self._fleet.now - self._worked_until
        done = min(self._left, seconds * self._fleet.setting.images_a_second)
        self._worked_until = self._fleet.now
        self._left, self._untold = self._left - done, self._untold + done

    def _work(self) -> float:
        worked = self._fleet.now - self._worked_until
        self._progress()
        try:
            if self._left < 1:
                self._tell("done")
                self._end()
                return 0.0
            self._tell("renew")
        except ShareLost:
            self._taken = None
            return 0.0
        self._fleet.more["LIST"] += max(0.0, worked / pace.split_seconds(self._seconds_left) - 1)  # looks for marks
        self._split()
        return self._next_tick()

    def _tell(self, kind: share_log.Kind) -> None:
        told, self._untold = int(self._untold), self._untold % 1
        log = self._taken.log
        before = self._store.requests.copy()
        if told:
            log.record([ImageChange(image=0, state="partial", tiles_done=told)])
        log.sync(kind, left=round(self._seconds_left))
        self._done += told
        seconds = told / self._fleet.setting.images_a_second
        more = max(0.0, seconds / SYNC_SECONDS - 1)
        self._fleet.entries += max(1.0, seconds / SYNC_SECONDS)
        for name, count in (self._store.requests - before).items():
            self._fleet.more[name] += count * more

    def _end(self) -> None:
        name = self._taken.name
        figures = DoneTally(name, self._done, 0, 0, 0, 0, self._parts)
        tally.put_done(self._store, ROUND, figures)
        self._board.set_done(name, figures)
        self._taken = None
        self._fleet.done_at = self._fleet.now

    def _split(self) -> None:
        marks = [entry.key for entry in self._store.list(f"{ROUND.idle(self._taken.name)}/")][:8]
        parts = min(len(marks), int(self._seconds_left / share.SPLIT_SECONDS) - 1)
        if parts <= 0:
            return
        each = int(self._left / (parts + 1))
        for mark in marks[:parts]:
            self._taken.log.sync(split=[each], left=round(self._seconds_left))
            self._parts += 1
            self._left -= each
            part = f"{self._taken.name}-{self._parts}"
            self._fleet.parts[part] = each
            tally.put_planned(self._store, ROUND, PlannedTally(part, each, 0))
            self._board.add(part)
            self._store.delete(mark)


class Fleet:
    """A setting as it goes on. `more` are requests that real machines make on top of those that were made here."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.now, self.store = setting, 0.0, Store()
        self.chance = random.Random(setting.seed)
        self.lost_images = self.node_seconds = self.entries = 0.0
        self.more: Counter[str] = Counter()
        self.parts: dict[str, int] = {}
        self.begun: set[int] = set()  # the plan's shares that were taken
        self.deaths = 0
        self.done_at = 0.0  # the last share that was
        self.longest_search = self.search_requests = 0  # requests to find a share
        self._minutes: Counter[int] = Counter()  # requests, by the minute
        for number in range(1, setting.shares + 1):
            self.store.put(f"{ROUND.plan}/{job_round.name_of(number)}", b"")
        self.store.put(f"{ROUND.plan}/end", b"")
        self.store.requests.clear()

    def size_of(self, share: str) -> int:
        return self.parts.get(share, self.setting.share_images)

    @property
    def all_begun(self) -> bool:
        """Whether each of the plan's shares was taken by now: machines may be idle."""
        return len(self.begun) == self.setting.shares

    def run(self) -> dict:
        """The figures of it."""
        with (
            mock.patch.object(board_module, "_PAGE", PAGE // ENTRIES),  # a look here asks as much as a real one
            mock.patch("os.urandom", self.chance.randbytes),
        ):
            self._run()
        return self._figures(self.done_at)

    def _run(self) -> None:
        waiting = [
            (self.chance.uniform(0, 10), number, self._node(number, 0.0)) for number in range(self.setting.nodes)
        ]
        heapq.heapify(waiting)
        turns = started = len(waiting)
        while waiting:
            self.now, _, node = heapq.heappop(waiting)
            turns += 1
            before = self._asked()
            if self.now >= node.dies_at:
                self._bury(node)
                if ROUND.finished not in self.store:
                    at, started = self.now + BOOT_SECONDS, started + 1
                    heapq.heappush(waiting, (at, turns, self._node(started, at)))
            elif (again := node.act()) is not None:
                heapq.heappush(waiting, (min(again, max(node.dies_at, self.now)), turns, node))
            else:
                self.node_seconds += self.now - node.started_at
            self._minutes[int(self.now // 60)] += self._asked() - before

    def _bury(self, node: Node) -> None:
        node.die()
        self.deaths += 1
        self.node_seconds += self.now - node.started_at

    def _node(self, number: int, now: float) -> Node:
        life = self.chance.expovariate(1 / self.setting.life) if self.setting.life else float("inf")
        return Node(self, f"node-{number}", now, now + life)

    def _asked(self) -> float:
        return self.store.requests.total() + self.more.total()

    def _figures(self, seconds: float) -> dict:
        setting = self.setting
        images = setting.shares * setting.share_images
        up = setting.life / (setting.life + BOOT_SECONDS) if setting.life else 1.0
        ideal = images / (setting.nodes * setting.images_a_second * up)
        requests = {name: round(self.store.requests[name] + self.more[name]) for name in (*BILLED, "DELETE")}
        hours = self.node_seconds / 3600
        return {
            **setting._asdict(),
            "images": images,
            "seconds": round(seconds),
            "ideal": round(ideal),
            "ratio": round(seconds / ideal, 3),
            "deaths": self.deaths,
            "lost_images": round(self.lost_images),
            "splits": len(self.parts),
            "search_requests": self.search_requests,
            "longest_search": self.longest_search,
            "requests": requests,
            "requests_an_hour_and_node": round(sum(requests.values()) / hours),
            "requests_a_second": round(sum(requests.values()) / seconds),
            "requests_a_second_in_the_busiest_minute": round(max(self._minutes.values()) / 60),
            "queue_requests_an_hour": round(setting.nodes * 3600 / POLL_SECONDS),
            "node_hours": round(hours, 1),
            "money": {
                "machines": round(hours * setting.node_price, 2),
                "protocol": round(self._price(requests), 2),
                "images": round(self._price({"PUT": images, "GET": images}), 2),
            },
            "plan_seconds": round(images / setting.plan_rate),
            "end_seconds": round(end_seconds(setting, self.entries)),
            "log_entries": round(self.entries),
        }

    def _price(self, requests: dict[str, int]) -> float:
        counted = Counter(requests)
        puts, gets = counted["PUT"] + counted["LIST"], counted["GET"] + counted["HEAD"]
        return (puts * self.setting.put_price + gets * self.setting.get_price) / 1000


def end_seconds(setting: Setting, entries: float) -> float:
    """From the last share to the mark: shares, and the entries of their logs, are read ahead of what is written."""
    images = setting.shares * setting.share_images
    reading = entries / AT_ONCE + images / SHARE_IMAGES / SHARES_AHEAD  # requests, one after another
    return max(reading * setting.latency, images / setting.results_rate)
