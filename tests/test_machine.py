"""What this process may use: affinity, then the limits of its cgroups, the narrowest first."""

import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from batchgray import machine


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """The folders of this process's cgroup and its ancestors, innermost first, in a tree of the test's own."""
    root = tmp_path / "cgroup"
    own = root / "outer" / "inner"
    own.mkdir(parents=True)
    read_text = Path.read_text

    def read(path, *given):
        if path == Path("/proc/self/cgroup"):
            return "4:memory:/legacy\n1:name=systemd:/\n0::/outer/inner\n"
        return read_text(path, *given)

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(machine, "_CGROUPS", root)
    return [own, own.parent, root]


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(machine, "_siblings", str)


def limit_memory(folder, limit, current, cache=0):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\nactive_file 7\n")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_bound_to_one_cpu_uses_one_core():
    cpu = min(os.sched_getaffinity(0))
    script = "import os, sys; os.sched_setaffinity(0, [int(sys.argv[1])])\n"
    script += "from batchgray import machine; print(machine.usable_cores())"
    bound = subprocess.run([sys.executable, "-c", script, str(cpu)], capture_output=True, text=True, check=True)
    assert bound.stdout == "1\n"


def test_affinity_counts_without_a_quota(cgroups, eight_cores, monkeypatch):
    assert machine.usable_cores() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 7})
    assert machine.usable_cores() == 3


def test_two_threads_of_a_core_are_one_core(cgroups, eight_cores, monkeypatch):
    monkeypatch.setattr(machine, "_siblings", lambda cpu: str(cpu % 4))
    assert machine.usable_cores() == 4


def test_the_machine_itself_has_at_least_one_core_and_no_more_than_its_cpus():
    assert 1 <= machine.usable_cores() <= os.cpu_count()


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("9999999 100000", 8)],
)
def test_a_quota_is_rounded_up_and_never_gives_more_than_there_is(cgroups, eight_cores, quota, cores):
    (cgroups[0] / "cpu.max").write_text(quota + "\n")
    assert machine.usable_cores() == cores


@pytest.mark.parametrize("narrow", [0, 1])
def test_the_narrowest_quota_counts_whether_its_own_or_an_ancestors(cgroups, eight_cores, narrow):
    (cgroups[narrow] / "cpu.max").write_text("300000 100000\n")
    (cgroups[1 - narrow] / "cpu.max").write_text("600000 100000\n")
    assert machine.usable_cores() == 3


def test_without_limits_the_machines_memory_is_available(cgroups, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**9))
    assert machine.available_memory() == 10**9
    (cgroups[0] / "memory.max").write_text("max\n")
    (cgroups[0] / "memory.current").write_text("5\n")
    assert machine.available_memory() == 10**9


def test_a_memory_limit_leaves_what_is_not_used_and_what_is_only_cache(cgroups):
    limit_memory(cgroups[0], 5 << 20, 3 << 20)
    assert machine.available_memory() == 2 << 20
    limit_memory(cgroups[0], 5 << 20, 3 << 20, cache=1 << 20)
    assert machine.available_memory() == 3 << 20


@pytest.mark.parametrize("narrow", [0, 1])
def test_the_memory_limit_that_leaves_least_counts_whether_its_own_or_an_ancestors(cgroups, narrow):
    limit_memory(cgroups[narrow], 6 << 20, 4 << 20)
    limit_memory(cgroups[1 - narrow], 5 << 20, 0)
    assert machine.available_memory() == 2 << 20


def test_a_limit_that_is_passed_leaves_nothing_and_not_less(cgroups):
    limit_memory(cgroups[0], 1000, 2000)
    assert machine.available_memory() == 0


def test_a_cgroup_that_tells_nothing_limits_nothing(cgroups, eight_cores):
    (cgroups[0] / "cpu.max").write_text("")
    (cgroups[0] / "memory.max").write_text("12345\n")
    assert machine.usable_cores() == 8
    assert machine._cgroup_memory() == []


def test_the_cgroups_are_this_processs_own_and_all_above_it_and_none_of_version_1(cgroups):
    assert machine._own_cgroups() == cgroups


def test_the_quota_is_a_number_on_this_machine():
    assert 0 < machine._cpu_quota() < math.inf
