"""A clock is compared with a service's, which needs no credentials and has little time to answer."""

import math

import pytest

from batchgray.cloud import clock
from batchgray.cloud.clock import compare_clock


@pytest.fixture
def server(oss_local):
    with oss_local.LocalOSS() as server:
        yield server


@pytest.mark.parametrize(("skew", "verdict"), [(0, "fine"), (3600, "wrong"), (-3600, "wrong")])
def test_a_clock_that_is_off_is_wrong(server, skew, verdict):
    server.skew = skew
    found = compare_clock(server.endpoint)
    assert (found.verdict, bool(found.remedy)) == (verdict, verdict == "wrong")


@pytest.mark.parametrize("kind", ["drop", "hang"])
def test_one_that_is_not_told_is_noted(server, oss_local, monkeypatch, kind):
    monkeypatch.setattr(clock, "_ANSWER_SECONDS", 0.2)
    server.faults.append(oss_local.Fault("*", kind, times=math.inf, seconds=1000))
    assert compare_clock(server.endpoint).verdict == "note"
