"""What this process may use of the machine: cores by affinity and cgroup quota, memory by cgroup limit."""

import math
import os
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Physical cores that this process may use, at least 1: affinity, then the cgroup's CPU quota, rounded up."""
    if hasattr(os, "sched_getaffinity"):
        cores = len({_siblings(cpu) for cpu in os.sched_getaffinity(0)})
    else:
        cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_cpu_quota())))


def available_memory() -> int:
    """Bytes that this process may still use: what the machine has available, and what its cgroups leave."""
    return min([psutil.virtual_memory().available, *_cgroup_memory()])


def processor_seconds(pid: int) -> float | None:
    """Processor time that a process has used so far; None where it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return times.user + times.system


def _siblings(cpu: int) -> str:
    """Names the physical core of a logical CPU: hardware threads of one core share the answer."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text("ascii")
    except OSError:
        return str(cpu)


def _own_cgroups() -> list[Path]:
    """This process's cgroup (version 2) and its ancestors, innermost first; a limit on any of them counts."""
    try:
        lines = Path("/proc/self/cgroup").read_text("ascii", "replace").splitlines()
    except OSError:
        return []
    for line in lines:
        if line.startswith("0::"):
            folder = _CGROUPS / line[3:].lstrip("/")
            return [folder, *(parent for parent in folder.parents if parent.is_relative_to(_CGROUPS))]
    return []


def _cpu_quota() -> float:
    quotas = [math.inf]
    for folder in _own_cgroups():
        quota, period = _words(folder / "cpu.max", 2)
        if quota.isdigit() and period.isdigit():
            quotas.append(int(quota) / int(period))
    return min(quotas) if min(quotas) < math.inf else os.cpu_count() or 1


def _cgroup_memory() -> list[int]:
    left = []
    for folder in _own_cgroups():
        limit, current = _words(folder / "memory.max", 1)[0], _words(folder / "memory.current", 1)[0]
        if limit.isdigit() and current.isdigit():
            left.append(max(0, int(limit) - int(current) + _reclaimable(folder)))
    return left


def _reclaimable(folder: Path) -> int:
    """Page cache that the kernel gives up under pressure; memory.current counts it as used."""
    try:
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)


def _words(path: Path, count: int) -> list[str]:
    try:
        words = path.read_text("ascii").split()
    except OSError:
        words = []
    return (words + [""] * count)[:count]
