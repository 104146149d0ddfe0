"""What the validator takes of its machine, and how its embedder is: for Prometheus."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from loosh_pipeline.embedding.address import api_root, http_client
from loosh_pipeline.processes import processes_of
from loosh_pipeline.run_state import processes
from loosh_pipeline.settings import Settings

WITHIN_S = 1.0
LATELY = timedelta(hours=1)
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


def services(home: Path) -> Iterator[Metric]:
    """Memory and processor time by service, of all its processes; nothing where there is no /proc or no `loosh up`."""
    state = processes(home)
    if not state.pids or not Path("/proc").is_dir():
        return
    used = _used(home, {pid: name for name, pid in state.pids.items()})
    up = GaugeMetricFamily("loosh_service_up", "1 when the service's process lives.", labels=["service"])
    died = GaugeMetricFamily("loosh_service_deaths_1h", "Ends nobody asked for, within an hour.", labels=["service"])
    memory = GaugeMetricFamily("loosh_service_memory_bytes", "Its memory, shared pages by parts.", labels=["service"])
    cpu = CounterMetricFamily("loosh_service_cpu_seconds", "Its processor time.", labels=["service"])
    count = GaugeMetricFamily("loosh_service_processes", "Its processes.", labels=["service"])
    now = datetime.now(UTC)
    for name in state.pids:
        use = used[name]
        up.add_metric([name], float(use.processes > 0))
        died.add_metric([name], sum(now - death.at <= LATELY for death in state.deaths.get(name, ())))
        memory.add_metric([name], use.memory_bytes)
        cpu.add_metric([name], use.cpu_s)
        count.add_metric([name], use.processes)
    yield from (up, died, memory, cpu, count)


def _used(home: Path, names: dict[int, str]) -> dict[str, _Use]:
    found = {process.pid: process for process in processes_of(home)}
    used: dict[str, _Use] = defaultdict(_Use)
    for pid in found:
        owner: int | None = pid
        while owner is not None and owner not in names:
            owner = found[owner].parent if owner in found else None
        if owner is None:
            continue
        try:
            memory_bytes, cpu_s = _memory_bytes(pid), _cpu_s(pid)
        except (OSError, ValueError, IndexError):
            continue  # it ended while we looked
        use = used[names[owner]]
        use.memory_bytes += memory_bytes
        use.cpu_s += cpu_s
        use.processes += 1
    return used


def _memory_bytes(pid: int) -> int:
    """Its own pages, and its part of those that it shares: forked workers share most."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_s(pid: int) -> float:
    """Of the process, and of children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


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
