"""While a lease is in doubt, a worker changes nothing; what it reads is no matter."""

import threading

import pytest

from batchgray import ownclock
from batchgray.storage import lease
from batchgray.storage.lease import Lease, LeasedPlace
from batchgray.storage.memory import MemoryPlace


@pytest.fixture
def told(tmp_path):
    """The supervisor's side and a worker's."""
    return Lease(tmp_path, make=True), Lease(tmp_path)


def test_it_is_in_doubt_until_it_is_renewed_and_after_a_time(told, monkeypatch):
    supervisor, worker = told
    assert worker.in_doubt
    monkeypatch.setattr(ownclock, "machine_clock", lambda: 1000.0)
    supervisor.extend(1000.1)
    assert not worker.in_doubt
    supervisor.extend(1000.0)
    assert worker.in_doubt


def test_half_a_moment_is_none(told):
    supervisor, worker = told
    supervisor.extend(ownclock.machine_clock() + 900)
    supervisor._map[0:8] = bytes(8)
    assert worker.in_doubt


@pytest.mark.parametrize("change", [("put", b"new"), ("put_absent", b"new"), ("delete",)])
def test_changes_wait_for_it(told, change, monkeypatch):
    supervisor, worker = told
    looked = threading.Event()
    monkeypatch.setattr(lease.time, "sleep", lambda seconds: looked.set())
    place = MemoryPlace()
    place.put("a", b"old")
    leased = LeasedPlace(place, worker)
    name, *content = change
    changing = threading.Thread(target=getattr(leased, name), args=("a", *content))
    changing.start()
    assert looked.wait(900)
    assert leased.get("a") == b"old"
    assert leased.stat("a") == next(leased.list())
    supervisor.extend(ownclock.machine_clock() + 900)
    changing.join(900)
    assert not changing.is_alive()
