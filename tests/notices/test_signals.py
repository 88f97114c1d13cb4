"""Signals are notices while the listener listens; what handled them before does so again, or what is to come then."""

import contextlib
import signal

import pytest

from batchgray.notices.inbox import Inbox, InterruptionNotice
from batchgray.notices.signals import SIGNALS, SignalSource


@pytest.fixture
def inbox():
    with contextlib.closing(Inbox()) as inbox:
        yield inbox


@pytest.fixture(autouse=True)
def handlers():
    """The handlers of these tests' signals are what they were before."""
    earlier = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in earlier.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_is_a_notice_that_names_it(inbox, signum):
    signal.signal(signum, signal.SIG_DFL)  # the runner may have been told to ignore it
    listener = SignalSource()
    listener.start(inbox)
    signal.raise_signal(signum)
    signal.raise_signal(signum)
    assert inbox.take() == [InterruptionNotice(source="signal", event_id=signum.name)] * 2
    listener.stop()


def test_handlers_are_as_before_when_it_stops(inbox):
    def earlier(*_):
        pass

    for signum in SIGNALS:
        signal.signal(signum, earlier)
    listener = SignalSource()
    listener.start(inbox)
    assert all(signal.getsignal(signum) is not earlier for signum in SIGNALS)
    listener.stop()
    assert [signal.getsignal(signum) for signum in SIGNALS] == [earlier] * 3


def test_under_nohup_a_hangup_stays_ignored(inbox):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    listener = SignalSource()
    listener.start(inbox)
    signal.raise_signal(signal.SIGHUP)
    assert inbox.take() == []
    listener.stop()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_signals_after_it_stopped_are_for_whatever_comes_afterwards(inbox):
    """A second signal at the very end of a program must not change its exit code."""
    calls = []
    listener = SignalSource(lambda: calls.append("afterwards"))
    listener.start(inbox)
    listener.stop()
    signal.raise_signal(signal.SIGTERM)
    assert (calls, inbox.take()) == (["afterwards"], [])
