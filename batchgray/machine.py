"""What this process may use of the machine: cores by affinity and cgroup quota, memory by cgroup limit.

psutil is imported where it is needed: `--version` and `--help`, and the fork server, start a tenth sooner without it.
"""

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")

# Limit, use, and what of it is page cache that nobody needs: version 2, then version 1.
_MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def usable_cores() -> int:
    """Physical cores that this process may use, at least 1: affinity, then the cgroup's CPU quota, rounded up."""
    if hasattr(os, "sched_getaffinity"):
        cores = len({_siblings(cpu) for cpu in os.sched_getaffinity(0)})
    else:
        import psutil

        cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_cpu_quota())))


def available_memory() -> int:
    """Bytes that this process may still use: what the machine has available, and what its cgroups leave."""
    import psutil

    available: int = psutil.virtual_memory().available
    return min([available, *_cgroup_memory()])


def processor_seconds(pid: int) -> float | None:
    """Processor time that a process has used so far; None where it is gone."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)


def _siblings(cpu: int) -> str:
    """Names the physical core of a logical CPU: hardware threads of one core share the answer."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text("ascii")
    except OSError:
        return str(cpu)


def _own_cgroups() -> list[Path]:
    """This process's cgroups and their ancestors, innermost first; a limit on any of them counts.

    One of version 2, and one in each hierarchy of version 1 (cgroups(7)). In a container the path may be the host's,
    and lead nowhere; what limits it is then at the root of the mount.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text("ascii", "replace").splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        mount = _mount_of(controllers)
        folder = mount / path.lstrip("/")
        folders += [folder, *(parent for parent in folder.parents if parent.is_relative_to(mount))]
    return folders


def _mount_of(controllers: str) -> Path:
    """Where a hierarchy is mounted; version 2 names no controllers, and beside version 1 it is `unified`."""
    mount = _CGROUPS / (controllers or "unified")
    return mount if controllers or os.path.isdir(mount) else _CGROUPS


def _cpu_quota() -> float:
    quotas = [math.inf]
    for folder in _own_cgroups():
        version_1 = _words(folder / "cpu.cfs_quota_us", 1) + _words(folder / "cpu.cfs_period_us", 1)
        for quota, period in (_words(folder / "cpu.max", 2), version_1):
            if quota.isdigit() and period.isdigit():
                quotas.append(int(quota) / int(period))
    return min(quotas) if min(quotas) < math.inf else os.cpu_count() or 1


def _cgroup_memory() -> list[int]:
    left = []
    for folder in _own_cgroups():
        for limit_file, usage_file, cache_entry in _MEMORY_FILES:
            limit, usage = _words(folder / limit_file, 1)[0], _words(folder / usage_file, 1)[0]
            if limit.isdigit() and usage.isdigit():
                left.append(max(0, int(limit) - int(usage) + _reclaimable(folder, cache_entry)))
    return left


def _reclaimable(folder: Path, entry: str) -> int:
    """Page cache that the kernel gives up under pressure; it counts as used."""
    try:
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{entry} ")), 0)


def _words(path: Path, count: int) -> list[str]:
    try:
        words = path.read_text("ascii").split()
    except OSError:
        words = []
    return (words + [""] * count)[:count]
