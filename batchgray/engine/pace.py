"""How often machines that work together look at one another: often where something can be gained by it, else seldom.

A look is some requests to a store, paid by each of a thousand machines. To be late with one costs what a machine could
have done meanwhile: it is in proportion to the time that a machine waits, or that it could share with others.
"""

from batchgray.manifest import share_log

_LEAST_SECONDS = 0.1
_WAITED = 0.25  # of the time that it waits already, a machine waits before its next look
_LOOKING = 0.2  # of a waiting machine's time is spent on looks, at most, where they come more often than in the end
_SPLIT_LEAST_SECONDS = 0.5
_SPLIT = 1 / 8  # of the work that is left may be done before a machine is seen that could do a part of it


def look_seconds() -> float:
    """Between two looks at what others do, in the long run."""
    return share_log.STALE_SECONDS / 10


def idle_seconds(waited: float, look: float) -> float:
    """Before the next look of a machine that has waited so long for something to do; its last look took `look`."""
    return min(look_seconds(), max(_LEAST_SECONDS, waited * _WAITED, look / _LOOKING))


def split_seconds(left: float | None) -> float:
    """Between two looks for idle machines, of one that has so many seconds of work left; None: it is not known yet."""
    most = share_log.RENEW_SECONDS / 2
    return most if left is None else min(most, max(_SPLIT_LEAST_SECONDS, left * _SPLIT))
