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
def membership(tmp_path, monkeypatch):
    """Call it with the lines of /proc/self/cgroup. Returns where all is mounted: a folder of the test's own."""
    read_text = Path.read_text
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cgroup")

    def member(*lines):
        def read(path, *given):
            return "\n".join(lines) + "\n" if path == Path("/proc/self/cgroup") else read_text(path, *given)

        monkeypatch.setattr(Path, "read_text", read)
        return tmp_path / "cgroup"

    return member


@pytest.fixture
def cgroups(membership):
    """The folders of this process's cgroup and its ancestors, innermost first."""
    root = membership("0::/outer/inner")
    own = root / "outer" / "inner"
    own.mkdir(parents=True)
    return [own, own.parent, root]


@pytest.fixture
def legacy(membership):
    """The same in two hierarchies of version 1, with a version 2 that limits nothing: those of `cpu`, of `memory`."""
    root = membership(
        "5:memory:/outer/inner", "3:cpu,cpuacct:/outer/inner", "2:pids:/", "1:name=systemd:/outer", "0::/outer"
    )
    (root / "unified" / "outer").mkdir(parents=True)
    owns = [root / mount / "outer" / "inner" for mount in ("cpu,cpuacct", "memory")]
    for own in owns:
        own.mkdir(parents=True)
    return [[own, own.parent, own.parent.parent] for own in owns]


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


def test_the_cgroups_are_this_processs_own_and_all_above_it(cgroups):
    assert machine._own_cgroups() == cgroups


# version 1


def limit_legacy_memory(folder, limit, usage, cache=0):
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {cache}\ntotal_active_file 7\n")


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize(("quota", "cores"), [(-1, 8), (50000, 1), (200000, 2), (250000, 3)])
def test_a_quota_of_version_1_counts_wherever_it_is(legacy, eight_cores, level, quota, cores):
    folder = legacy[0][level]
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.usable_cores() == cores


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_memory_limit_of_version_1_counts_wherever_it_is(legacy, level):
    for folder in legacy[1]:
        limit_legacy_memory(folder, 9223372036854771712, 5 << 20)
    limit_legacy_memory(legacy[1][level], 5 << 20, 3 << 20, cache=1 << 20)
    assert machine.available_memory() == 3 << 20


def test_a_container_that_sees_only_the_root_of_a_mount_is_limited_there(membership, eight_cores):
    root = membership("5:memory:/docker/0a1b", "3:cpu,cpuacct:/docker/0a1b", "0::/docker/0a1b")
    for mount in ("memory", "cpu,cpuacct"):
        (root / mount).mkdir(parents=True)
    limit_legacy_memory(root / "memory", 5 << 20, 3 << 20)
    (root / "cpu,cpuacct" / "cpu.cfs_quota_us").write_text("200000\n")
    (root / "cpu,cpuacct" / "cpu.cfs_period_us").write_text("100000\n")
    assert (machine.usable_cores(), machine.available_memory()) == (2, 2 << 20)


def test_a_container_of_version_2_that_sees_only_the_root_is_limited_there(membership, eight_cores):
    root = membership("0::/system.slice/docker-0a1b.scope")
    root.mkdir()
    limit_memory(root, 5 << 20, 3 << 20)
    (root / "cpu.max").write_text("200000 100000\n")
    assert (machine.usable_cores(), machine.available_memory()) == (2, 2 << 20)


def test_version_2_limits_beside_version_1_too(membership, eight_cores):
    root = membership("3:cpu:/", "0::/inner")
    (root / "unified" / "inner").mkdir(parents=True)
    (root / "unified" / "inner" / "cpu.max").write_text("300000 100000\n")
    assert machine.usable_cores() == 3


def test_the_quota_is_a_number_on_this_machine():
    assert 0 < machine._cpu_quota() < math.inf
