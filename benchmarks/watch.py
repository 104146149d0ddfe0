"""What all processes of a validator had spent at moments of a measurement, and what lies between two of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks import accounting
from benchmarks.usage import Peak, cpu_by_service, service_of
from benchmarks.validator import Validator
from loosh_pipeline.processes import processes_of

PSS_EVERY = 8
"""Samples between two looks at PSS, each of which takes the kernel a tenth of a second."""
SERVERS = ("ingress", "embedder", "dagster-webserver", "dagster-daemon")
"""Services that execute no runs: what their main threads do with inbox and tables is not a run's storage."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was at one moment; seconds since the processes started."""

    at_s: float
    delivered: int
    services_s: Mapping[str, float]
    runs_s: Mapping[str, float]
    devnet_s: float
    own_s: float


@dataclass(slots=True)
class Watch:
    """Looks at the validator from time to time."""

    validator: Validator
    already: int
    """Delivered before what is watched began."""
    peak: Peak
    samples: list[Sample] = field(default_factory=list)
    _servers: set[int] = field(default_factory=set)

    def look(self) -> Sample:
        processes = list(processes_of(self.validator.settings.home))
        services = service_of(processes, self.validator.ours.pids())
        self._servers |= {pid for pid, service in services.items() if service in SERVERS}
        self.peak.note_rss(services)
        if len(self.samples) % PSS_EVERY == 0:
            self.peak.note_pss(services)
        self.validator.load.note()
        sample = Sample(
            at_s=time.time(),
            delivered=self.validator.submitted() - self.already,
            services_s=cpu_by_service(services),
            runs_s=self._runs_s(),
            devnet_s=self.validator.devnet_cpu_s(),
            own_s=time.process_time(),
        )
        self.samples.append(sample)
        return sample

    def _runs_s(self) -> Counter[str]:
        """What all runs so far have spent on each kind."""
        sums: Counter[str] = Counter()
        for pid, seconds in accounting.seconds_of(self.validator.counters).items():
            if pid not in self._servers:
                sums.update(seconds)
        return sums


def split_cpu(first: Sample, last: Sample) -> dict[str, float]:
    """Seconds a challenge by what they were spent on; their sum is all that the validator's processes spent."""
    count = last.delivered - first.delivered
    services = {name: seconds - first.services_s.get(name, 0.0) for name, seconds in last.services_s.items()}
    runs = {kind: last.runs_s[kind] - first.runs_s.get(kind, 0.0) for kind in accounting.KINDS}
    kinds = {**runs, "embedding": runs["embedding"] + services.get("embedder", 0.0)}
    rest = sum(services.values()) - sum(kinds.values())
    return {name: round(seconds / count, 4) for name, seconds in {"orchestration": rest, **kinds}.items()}


def by_service(first: Sample, last: Sample) -> dict[str, float]:
    """Seconds a challenge by service."""
    count = last.delivered - first.delivered
    spent = {name: seconds - first.services_s.get(name, 0.0) for name, seconds in last.services_s.items()}
    return {name: round(seconds / count, 4) for name, seconds in sorted(spent.items(), key=lambda each: -each[1])}
