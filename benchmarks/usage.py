"""Processor time and memory of a validator's processes, by service, from /proc.

Processor time is that of every live process and of the children that it has waited for, so that between two readings
no process is missed that its parent has buried. A process belongs to the service that it descends from.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loosh_pipeline.processes import Process

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MB = 1024.0 * 1024.0
OTHER = "other"
"""Processes whose ancestors have ended."""


def service_of(processes: Iterable[Process], roots: Mapping[str, int]) -> dict[int, str]:
    """The service that each process descends from, by pid."""
    parents = {process.pid: process.parent for process in processes}
    names = {pid: name for name, pid in roots.items()}
    found: dict[int, str] = {}
    for pid in parents:
        at = pid
        while at not in names and at in parents:
            at = parents[at]
        found[pid] = names.get(at, OTHER)
    return found


def cpu_s(pid: int) -> float:
    """Of a process and the children it has waited for; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) * TICK_S


def cpu_by_service(services: Mapping[int, str]) -> Counter[str]:
    """Seconds since the processes started."""
    seconds: Counter[str] = Counter()
    for pid, service in services.items():
        seconds[service] += cpu_s(pid)  # type: ignore[assignment]  # a Counter of seconds
    return seconds


@dataclass(slots=True)
class Peak:
    """The most memory that all processes had together.

    RSS counts a page once for each process that has it; PSS, which is dear to ask for, once in all.
    """

    rss_mb: float = 0.0
    pss_mb: float = 0.0
    processes: int = 0

    def note_rss(self, pids: Iterable[int]) -> None:
        sizes = [_rss_bytes(pid) for pid in pids]
        self.rss_mb = max(self.rss_mb, sum(sizes) / MB)
        self.processes = max(self.processes, len(sizes))

    def note_pss(self, pids: Iterable[int]) -> None:
        self.pss_mb = max(self.pss_mb, sum(map(_pss_bytes, pids)) / MB)


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
