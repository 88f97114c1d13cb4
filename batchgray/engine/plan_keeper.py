"""The plan of a job's round, beside the work: listed in a thread, owned through a log as a share is.

    keeper thread:   take the plan log where nobody has it --> renew it --> give it back at the end
    lister thread:   while it is ours, and not all is listed: list, a share at a time --> news

So one machine lists, and another goes on where that one dies. Whoever has the plan log finishes the round, too.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from batchgray.errors import BatchgrayError
from batchgray.manifest import share_log
from batchgray.manifest.share_log import ShareLog, ShareLost
from batchgray.storage.base import Busy, Full, PlaceError, Unreachable

_TICK_SECONDS = 0.5

News = TypeVar("News")


class _Stopped(Exception):
    """The lister is to end where it is."""


class PlanKeeper(Generic[News]):
    """Keeps `log`, the plan's, and lists while it is ours: `shares` yields something for each as it is written.

    `news` are those that came since it was read; `failure` is why it can't go on. `wake` is called, by any of
    the threads, when there is something to see.
    """

    def __init__(
        self, log: ShareLog, shares: Callable[[Callable[[], None]], Iterable[News]], wake: Callable[[], None]
    ) -> None:
        """`shares` is given what to call now and then: it raises where the listing is to end."""
        self.through = False
        self.failure: BatchgrayError | PlaceError | None = None
        self.news: deque[News] = deque()
        self._log, self._shares, self._wake = log, shares, wake
        self._over = False
        self._closing, self._stop_listing = threading.Event(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="plan-keeper", daemon=True)
        self._lister: threading.Thread | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the plan is certainly ours, now."""
        return self._log.is_ours and not self._log.in_doubt

    @property
    def lists(self) -> bool:
        """Whether this machine is at it."""
        return self._lister is not None and self._lister.is_alive()

    @property
    def has_listed(self) -> bool:
        """Whether this machine was at it at any time."""
        return self._lister is not None

    @property
    def can_be_taken(self) -> bool:
        return self._log.can_be_taken()

    @property
    def number(self) -> int:
        """How far the log is."""
        return self._log.number

    @property
    def owner(self) -> str:
        """Who put its last entry."""
        return self._log.owner

    def look(self) -> None:
        """For whoever has not called `start`, as `take`. Raises PlaceError, DamagedLog."""
        self._log.catch_up()

    def take(self) -> bool:
        """Become its owner, if nobody is, as far as was looked."""
        return self._log.take()

    def start(self, through: bool) -> None:
        """Begin to keep it; `through` says whether all is listed already."""
        self.through = through
        self._list_if_ours()
        self._keeper.start()

    def check(self) -> None:
        """Raises what made it fail."""
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Stop listing, and give the plan back. Where the place does not answer, it is lost by silence."""
        self._closing.set()
        self._stop_listing.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        if self._lister is not None:  # the keeper begins none any more
            self._lister.join()
        if self._log.is_ours and not self._over and not self._log.in_doubt:
            with contextlib.suppress(PlaceError, ShareLost):
                self._log.sync("free")

    def forget(self) -> None:
        """The round is over: there is nothing to give back any more."""
        self._closing.set()
        self._over = True

    # the keeper

    def _keep(self) -> None:
        while not self._closing.wait(_TICK_SECONDS):
            try:
                self._renew_or_take()
            except (Busy, Unreachable, Full):
                continue  # it is tried again; a log that is not renewed is given up by others' clocks
            except ShareLost:
                self._stop_listing.set()
            except (BatchgrayError, PlaceError) as error:
                self._fail(error)
            self._list_if_ours()

    def _renew_or_take(self) -> None:
        if self._log.is_ours:
            if self._log.unsynced:
                self._log.sync()
        elif not self._log.looked_within(share_log.RENEW_SECONDS / 2):
            self._log.catch_up()
            if self._log.take():
                self._wake()

    def _list_if_ours(self) -> None:
        if self._closing.is_set() or self.failure is not None:
            return
        if self._log.is_ours and not self.through and not (self._lister and self._lister.is_alive()):
            self._stop_listing.clear()
            self._lister = threading.Thread(target=self._list, name="lister", daemon=True)
            self._lister.start()

    # the lister

    def _list(self) -> None:
        try:
            for share in self._shares(self._check_stop):
                self.news.append(share)
                self._wake()
            self.through = True
        except _Stopped:
            pass
        except (BatchgrayError, PlaceError) as error:
            self._fail(error)
        self._wake()

    def _check_stop(self) -> None:
        if self._stop_listing.is_set():
            raise _Stopped

    def _fail(self, error: BatchgrayError | PlaceError) -> None:
        self.failure = self.failure or error
        self._stop_listing.set()
        self._wake()
