"""A round of a job: what it keeps below JOB/R/ in the output place, by its keys. No two rounds share one.

R/plan/...      shares of the list (see `planning.shares`)
R/log/NAME/     the log of a share; R/log/plan/ that of whoever plans, and finishes
R/tally/...     figures in names (see `tally`)
R/idle/NAME/    marks of machines that wait for a part of a share
R/finished      the mark: all above is removed, or about to be
"""

from typing import NamedTuple

from batchgray.storage.base import Missing, Place


class Round(NamedTuple):
    """`job` is what the keys of all that is the job's own begin with; rounds are numbered from 1."""

    job: str
    number: int

    @property
    def prefix(self) -> str:
        return f"{self.job}/{self.number}"

    @property
    def plan(self) -> str:
        return f"{self.prefix}/plan"

    @property
    def logs(self) -> str:
        return f"{self.prefix}/log"

    def log(self, share: str) -> str:
        """What the keys of a share's log begin with."""
        return f"{self.logs}/{share}"

    @property
    def plan_log(self) -> str:
        return self.log("plan")

    @property
    def tally(self) -> str:
        return f"{self.prefix}/tally"

    def idle(self, share: str) -> str:
        return f"{self.prefix}/idle/{share}"

    @property
    def finished(self) -> str:
        return f"{self.prefix}/finished"

    @property
    def next(self) -> "Round":
        return self._replace(number=self.number + 1)

    @property
    def previous(self) -> "Round":
        return self._replace(number=self.number - 1)

    def is_finished(self, place: Place) -> bool:
        """Raises PlaceError."""
        try:
            place.stat(self.finished)
        except Missing:
            return False
        return True

    def has_begun(self, place: Place) -> bool:
        """Raises PlaceError."""
        return next(place.list(f"{self.prefix}/"), None) is not None


def current(place: Place, job: str) -> Round:
    """The first round that is not finished; it need not have begun. Raises PlaceError."""
    found = Round(job, 1)
    while found.is_finished(place):
        found = found.next
    return found


def name_of(number: int) -> str:
    """How a share of the plan is called."""
    return f"{number:08d}"


def number_of(share: str) -> int:
    """Of the plan's share that a share is, or was split off."""
    return int(share.partition("-")[0])


def parent_of(share: str) -> str | None:
    """The share that it was split off; None where it is one of the plan's."""
    above, dash, _ = share.rpartition("-")
    return above if dash else None


def lineage_of(share: str) -> list[str]:
    """The share of the plan, those that were split off one after another, and this one."""
    parts = share.split("-")
    return ["-".join(parts[:count]) for count in range(1, len(parts) + 1)]
