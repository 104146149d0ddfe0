"""How many processes there is room for: processors and memory that this machine, or the container, has left."""

from __future__ import annotations

import os
from pathlib import Path

MOST = 4
"""More would be fed too slowly by the one that reads and writes."""
PROCESS_BYTES = 300 * 1024**2
"""What a process that scores takes at most, with its libraries."""
CGROUP, MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")


def most_processes(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int:
    """At least 1."""
    free = memory_bytes(cgroup, meminfo)
    fitting = MOST if free is None else free // PROCESS_BYTES
    return max(1, min(cores(), quota(cgroup) or MOST, MOST, fitting))


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(cgroup: Path = CGROUP) -> int | None:
    """How many processors' time a container is given, at least 1; None without a limit."""
    try:
        time_us, _, period_us = (cgroup / "cpu.max").read_text().partition(" ")
        return max(1, int(time_us) // int(period_us))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or it says "max"
        return None


def memory_bytes(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int | None:
    """What may still be taken, of the machine's memory and the container's; None where nobody says."""
    found = [each for each in (_machine(meminfo), _container(cgroup)) if each is not None]
    return min(found, default=None)


def _machine(meminfo: Path) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _container(cgroup: Path) -> int | None:
    try:
        limit, taken = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):
        return None
    return max(0, limit - taken)
