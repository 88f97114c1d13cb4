"""How far joined machines go: the real board, share log and lease code over a simulated store, with a clock of its own.

    python benchmarks/simulate_fleet.py [--shares 1000] [--nodes 10 100 1000] [--json FILE]

Simulated are the store (keys in memory; every request is counted, and costs its machine --latency), the machines
(they come up, live for so long, are replaced, hear a notice or not) and the time. Real are the board, the logs, the
tallies and the constants of the lease. Images are units of a share: what is done is so much work, no pixels; the
list is there at the beginning; calls of one machine are not interleaved with those of others (that is what
`tests/support/model.py` tries). Logs are synced every TICK_SECONDS here, and the requests of a sync are counted as
often as a real machine syncs.
"""

import argparse
import bisect
import heapq
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from batchgray.engine.board import Board, Taken
from batchgray.manifest import job_round, share_log, tally
from batchgray.manifest.job_round import Round
from batchgray.manifest.records import ImageChange
from batchgray.manifest.share_log import ShareLost
from batchgray.manifest.tally import DoneTally, PlannedTally
from batchgray.storage.base import Entry, Put
from batchgray.storage.memory import MemoryPlace

ROUND = Round(".batchgray/simulated", 1)
TICK_SECONDS = 10.0
SYNC_SECONDS = 1.0  # between two syncs of a machine that works (see `ledger`)
LOOK_SECONDS = share_log.STALE_SECONDS / 10
PLAN_LOOK_SECONDS = share_log.RENEW_SECONDS / 2  # at the plan's log, by every machine (see `plan_keeper`)
BOOT_SECONDS = 120.0
SPLIT_SECONDS = 5.0
PAGE = 1000  # keys that one LIST tells of


class Setting(NamedTuple):
    """A fleet and its work. `life` is the mean of lifetimes, in seconds; None: nobody dies."""

    nodes: int
    shares: int
    share_images: int
    images_a_second: float
    life: float | None
    heard: bool
    latency: float = 0.02
    seed: int = 1


class Store(MemoryPlace):
    """Counts requests by kind; lists without sorting all."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()
        self._keys: list[str] = []

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Pages are asked for as they are read."""
        at = bisect.bisect_right(self._keys, after) if after > prefix else bisect.bisect_left(self._keys, prefix)
        self.requests["LIST"] += 1
        given = 0
        while at < len(self._keys) and self._keys[at].startswith(prefix):
            given += 1
            if given > PAGE:
                self.requests["LIST"] += 1
                given = 1
            yield self._entry(self._keys[at])
            at += 1

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
        super().delete(key)
        at = bisect.bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] == key:
            del self._keys[at]

    def _store(self, key: str, data: bytes) -> None:
        if key not in self._objects:
            bisect.insort(self._keys, key)
        super()._store(key, data)


class Node:
    """A machine from its start to its end: `act` does what is due, and says when it is to be called again."""

    def __init__(self, fleet: "Fleet", name: str, dies_at: float) -> None:
        self.name, self.dies_at = name, dies_at
        self._fleet, self._store = fleet, fleet.store
        self._board = Board(fleet.store, ROUND, name, lambda: fleet.now, alone=False)
        self._taken: Taken | None = None
        self._left = self._done = self._untold = 0.0
        self._parts = 0
        self._worked_until = 0.0
        self._look_at = self._plan_at = 0.0
        self._mark = ""
        self.idle_since: float | None = None

    def act(self) -> float | None:
        """None at its end."""
        before = self._store.requests.total()
        pause = self._work() if self._taken else self._seek()
        if pause is None:
            return None
        if self._fleet.now >= self._plan_at:
            self._plan_at = self._fleet.now + PLAN_LOOK_SECONDS
        asked = self._store.requests.total() - before
        return self._fleet.now + max(pause, asked * self._fleet.setting.latency)

    def die(self) -> None:
        """With its share given back, where it heard of it."""
        fleet = self._fleet
        self._take_mark_off()
        if not self._taken:
            return
        self._progress()
        if fleet.setting.heard:
            self._tell("free")
            self._board.set_free(self._taken.name, self._taken.log.number)
        else:
            lost = min(self._untold, fleet.setting.images_a_second * SYNC_SECONDS)
            fleet.lost_images += lost
            told = self._untold - lost
            self._untold = told
            self._tell("renew")
            fleet.lease_seconds += share_log.STALE_SECONDS

    # to find a share

    def _seek(self) -> float | None:
        now = self._fleet.now
        if now < self._look_at and self.idle_since is not None:
            return self._look_at - now
        if self._look_at == 0.0:
            self._look()
        before = self._store.requests.total()
        taken = self._board.take()
        while taken is None:
            self._look()
            if self._board.all_done:
                return None
            if not self._board.may_take:
                break
            taken = self._board.take()
        asked = self._store.requests.total() - before
        self._fleet.search_requests += asked
        self._fleet.longest_search = max(self._fleet.longest_search, asked)
        if taken is None:
            self.idle_since = self.idle_since or now
            self._set_mark()
            return LOOK_SECONDS
        self._fleet.idle_seconds += now - self.idle_since if self.idle_since else 0.0
        self.idle_since = None
        self._take_mark_off()
        self._begin(taken)
        return self._next_tick()

    def _look(self) -> None:
        self._board.look()
        self._look_at = self._fleet.now + LOOK_SECONDS

    def _begin(self, taken: Taken) -> None:
        entries = taken.entries
        self._taken, self._worked_until = taken, self._fleet.now
        self._done = sum(change.tiles_done for entry in entries for change in entry.changes)
        splits = [entry.split[0] for entry in entries if entry.split]
        self._parts = len(splits)
        self._left = self._fleet.size_of(taken.name) - sum(splits) - self._done
        self._untold = 0.0

    # to work

    def _next_tick(self) -> float:
        return min(TICK_SECONDS, max(0.01, self._left / self._fleet.setting.images_a_second))

    def _progress(self) -> None:
        seconds = self._fleet.now - self._worked_until
        done = min(self._left, seconds * self._fleet.setting.images_a_second)
        self._worked_until = self._fleet.now
        self._left, self._untold = self._left - done, self._untold + done

    def _work(self) -> float | None:
        self._progress()
        seconds = self._fleet.now - self._worked_until
        try:
            if self._left < 1:
                self._tell("done")
                self._end()
                return 0.0
            self._tell("renew")
        except ShareLost:
            self._taken = None
            return seconds
        self._split()
        return self._next_tick()

    def _tell(self, kind: share_log.Kind) -> None:
        told, self._untold = int(self._untold), self._untold % 1
        log = self._taken.log
        before = self._store.requests.copy()
        if told:
            log.record([ImageChange(image=0, state="partial", tiles_done=told)])
        log.sync(kind)
        self._done += told
        more = TICK_SECONDS / SYNC_SECONDS - 1 if kind == "renew" else 0
        for name, count in (self._store.requests - before).items():
            self._fleet.more[name] += count * more
        self._fleet.more["LIST"] += TICK_SECONDS / PLAN_LOOK_SECONDS  # the plan's log

    def _end(self) -> None:
        name = self._taken.name
        figures = DoneTally(name, int(self._done), 0, 0, 0, 0, self._parts)
        tally.put_done(self._store, ROUND, figures)
        self._board.set_done(name, figures)
        self._taken = None
        self._fleet.done_at = self._fleet.now

    def _split(self) -> None:
        marks = [entry.key for entry in self._store.list(f"{ROUND.idle(self._taken.name)}/")][:8]
        seconds = self._left / self._fleet.setting.images_a_second
        parts = min(len(marks), int(seconds / SPLIT_SECONDS) - 1)
        if parts <= 0:
            return
        each = int(self._left / (parts + 1))
        for mark in marks[:parts]:
            self._taken.log.sync(split=[each])
            self._parts += 1
            self._left -= each
            part = f"{self._taken.name}-{self._parts}"
            self._fleet.parts[part] = each
            tally.put_planned(self._store, ROUND, PlannedTally(part, each, 0))
            self._board.add(part)
            self._store.delete(mark)

    def _set_mark(self) -> None:
        self._take_mark_off()
        held = self._board.held
        if held:
            share = self._fleet.chance.choice(held).name
            self._mark = f"{ROUND.idle(share)}/{self._fleet.chance.randbytes(8).hex()}"
            self._store.put(self._mark, b"")

    def _take_mark_off(self) -> None:
        if self._mark:
            self._store.delete(self._mark)
            self._mark = ""


class Fleet:
    """A setting as it goes on. `more` are requests that real machines make on top of those that were made here."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.now, self.store = setting, 0.0, Store()
        self.chance = random.Random(setting.seed)
        self.lost_images = self.idle_seconds = self.lease_seconds = 0.0
        self.more: Counter[str] = Counter()
        self.parts: dict[str, int] = {}
        self.deaths = 0
        self.done_at = 0.0  # the last share that was
        self.longest_search = self.search_requests = 0  # requests to find a share
        for number in range(1, setting.shares + 1):
            self.store.put(f"{ROUND.plan}/{job_round.name_of(number)}", b"")
        self.store.put(f"{ROUND.plan}/end", b"")
        self.store.requests.clear()

    def size_of(self, share: str) -> int:
        return self.parts.get(share, self.setting.share_images)

    def run(self) -> dict:
        """The figures of it."""
        setting = self.setting
        waiting: list[tuple[float, int, Node]] = []
        started = 0
        for _ in range(setting.nodes):
            heapq.heappush(waiting, (self.chance.uniform(0, 10), started, self._node(started, 0.0)))
            started += 1
        while waiting:
            self.now, _, node = heapq.heappop(waiting)
            if self.now >= node.dies_at:
                node.die()
                self.deaths += 1
                if not self._is_done():
                    at = self.now + BOOT_SECONDS
                    heapq.heappush(waiting, (at, started, self._node(started, at)))
                    started += 1
                continue
            again = node.act()
            if again is not None:
                heapq.heappush(waiting, (min(again, max(node.dies_at, self.now)), started, node))
                started += 1
        return self._figures(self.done_at)

    def _node(self, number: int, now: float) -> Node:
        life = self.chance.expovariate(1 / self.setting.life) if self.setting.life else float("inf")
        return Node(self, f"node-{number}", now + life)

    def _is_done(self) -> bool:
        done = {each.share for each in tally.done(self.store, ROUND)}
        return len(done) == self.setting.shares + len(self.parts)

    def _figures(self, seconds: float) -> dict:
        setting = self.setting
        up = setting.life / (setting.life + BOOT_SECONDS) if setting.life else 1.0
        ideal = setting.shares * setting.share_images / (setting.nodes * setting.images_a_second * up)
        requests = {name: round(self.store.requests[name] + self.more[name]) for name in ("PUT", "LIST", "GET", "HEAD")}
        return {
            **setting._asdict(),
            "images": setting.shares * setting.share_images,
            "seconds": round(seconds),
            "ideal": round(ideal),
            "ratio": round(seconds / ideal, 3),
            "deaths": self.deaths,
            "lost_images": round(self.lost_images),
            "splits": len(self.parts),
            "search_requests": self.search_requests,
            "longest_search": self.longest_search,
            "requests": requests,
            "requests_an_hour_and_node": round(sum(requests.values()) * 3600 / seconds / setting.nodes),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100_000_000)
    parser.add_argument("--rate", type=float, default=170.0, help="images a second and node")
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--lives", type=float, nargs="+", default=[600.0, 3600.0, 36000.0], help="seconds")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "simulate_fleet.json")
    given = parser.parse_args()
    found = []
    for nodes in given.nodes:
        for life in given.lives:
            for heard in (True, False):
                setting = Setting(nodes, given.shares, given.images // given.shares, given.rate, life, heard)
                found.append(Fleet(setting).run())
                print(json.dumps(found[-1]), flush=True)
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
