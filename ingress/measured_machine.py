"""What the validator takes of its machine, and how its embedder is: for Prometheus."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from loosh_pipeline.embedding.address import api_root, http_client
from loosh_pipeline.processes import processes_of
from loosh_pipeline.run_state import processes
from loosh_pipeline.settings import Settings

WITHIN_S = 1.0
MEMORY_EVERY_S = 60.0
"""Adding up the pages of all processes takes the kernel a fifth of a second."""
OF_THE_EMBEDDER = "loosh_embedder_"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def disks(settings: Settings) -> Iterator[Metric]:
    """Room where LOOSH_HOME is, and where the tables are if that is a local path elsewhere."""
    free = GaugeMetricFamily("loosh_disk_free_bytes", "Room on the disk.", labels=["of"])
    size = GaugeMetricFamily("loosh_disk_size_bytes", "Size of the disk.", labels=["of"])
    places = {"home": settings.home}
    if "://" not in settings.tables_root:
        places["tables"] = Path(settings.tables_root)
    for name, path in places.items():
        usage = shutil.disk_usage(path)
        free.add_metric([name], usage.free)
        size.add_metric([name], usage.total)
    yield from (free, size)


@dataclass(slots=True)
class _Use:
    memory_bytes: int = 0
    cpu_s: float = 0.0
    processes: int = 0
    began: int = 0
    """When its main process did, in the kernel's count."""


@dataclass(frozen=True, slots=True)
class _Stat:
    """Processor time of a process and of its children that have ended; `began` tells it from another of its number."""

    cpu_s: float
    began: int


class Services:
    """Memory and processor time by service, of all its processes. Memory costs, and is looked at seldom."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._memory: dict[tuple[int, int], int] = {}
        self._memory_at_s = float("-inf")
        self._most_cpu_s: dict[tuple[str, int, int], float] = {}

    def measured(self) -> Iterator[Metric]:
        """Nothing where there is no /proc or no `loosh up`."""
        state = processes(self._home)
        if not state.pids or not Path("/proc").is_dir():
            return
        used = self._used({pid: name for name, pid in state.pids.items()})
        up = GaugeMetricFamily("loosh_service_up", "1 when the service's process lives.", labels=["service"])
        died = CounterMetricFamily("loosh_service_deaths", "Ends nobody asked for.", labels=["service"])
        memory = GaugeMetricFamily(
            "loosh_service_memory_bytes", "Its memory, shared pages by parts.", labels=["service"]
        )
        cpu = CounterMetricFamily("loosh_service_cpu_seconds", "Its processor time.", labels=["service"])
        count = GaugeMetricFamily("loosh_service_processes", "Its processes.", labels=["service"])
        most = {(name, pid, used[name].began): used[name].cpu_s for name, pid in state.pids.items()}
        # A child that ends while we look is in neither its own figure nor its parent's, which was read before.
        self._most_cpu_s = {key: max(cpu_s, self._most_cpu_s.get(key, 0.0)) for key, cpu_s in most.items()}
        for (name, _, _), cpu_s in self._most_cpu_s.items():
            use = used[name]
            up.add_metric([name], float(use.processes > 0))
            died.add_metric([name], state.died.get(name, 0))
            memory.add_metric([name], use.memory_bytes)
            cpu.add_metric([name], cpu_s)
            count.add_metric([name], use.processes)
        yield from (up, died, memory, cpu, count)

    def _used(self, names: dict[int, str]) -> dict[str, _Use]:
        found = {process.pid: process for process in processes_of(self._home)}
        used: dict[str, _Use] = defaultdict(_Use)
        if time.monotonic() - self._memory_at_s >= MEMORY_EVERY_S:
            self._memory, self._memory_at_s = {}, time.monotonic()
        for pid in found:
            owner: int | None = pid
            while owner is not None and owner not in names:
                owner = found[owner].parent if owner in found else None
            if owner is None:
                continue
            try:
                stat = _stat(pid)
                memory_bytes = self._memory_of(pid, stat)
            except (OSError, ValueError, IndexError):
                continue  # it ended while we looked
            use = used[names[owner]]
            use.memory_bytes += memory_bytes
            use.cpu_s += stat.cpu_s
            use.processes += 1
            use.began = stat.began if pid == owner else use.began
        return used

    def _memory_of(self, pid: int, stat: _Stat) -> int:
        if (pid, stat.began) not in self._memory:
            self._memory[pid, stat.began] = _memory_bytes(pid)
        return self._memory[pid, stat.began]


def _memory_bytes(pid: int) -> int:
    """Its own pages, and its part of those that it shares: forked workers share most."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _stat(pid: int) -> _Stat:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return _Stat(sum(map(int, fields[11:15])) / TICKS_PER_S, int(fields[19]))


def embedder(settings: Settings) -> Iterator[Metric]:
    """What our own embedder says of itself; of a server of the operator's own nothing is known."""
    if settings.embedder_url is None or settings.embedding_url is not None:
        return
    families, up = [], 1.0
    try:
        with http_client(str(settings.embedder_url), WITHIN_S) as http:
            reply = http.get(api_root(str(settings.embedder_url)).removesuffix("/v1") + "/metrics").raise_for_status()
        families = [
            each for each in text_string_to_metric_families(reply.text) if each.name.startswith(OF_THE_EMBEDDER)
        ]
    except (httpx.HTTPError, OSError, ValueError):
        up = 0.0
    yield GaugeMetricFamily("loosh_embedder_up", "1 when the embedder answers.", value=up)
    yield from families
