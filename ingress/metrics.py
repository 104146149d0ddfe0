"""Everything that Prometheus is told, from counts that are made every few seconds at most and kept in between.

A part that cannot be counted is left out and noted; the others are told all the same. No request waits for this.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ingress.counting import Counts
from ingress.measured_chain import chain
from ingress.measured_machine import Services, disks, embedder
from ingress.progress import Progress
from ingress.version import VERSION
from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.errors import LooshError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.figures import WITHOUT_SCORES
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.retention_notes import RetentionNotes
from loosh_pipeline.store.runs import Runs
from loosh_pipeline.store.tables import Tables

logger = logging.getLogger(__name__)

Measure = Callable[[], Iterable[Metric]]

QUICK_S, SLOW_S, RARE_S = 5.0, 15.0, 30.0
"""How old figures may be: by what counting them costs."""
ONE_AT_A_TIME_S = 5.0


class Busy(LooshError):
    """Figures are being counted for somebody else, and that takes long."""


class Kept(Collector):
    """One part of the figures, counted again when it has grown old; `failures` of all parts by name."""

    def __init__(self, name: str, every_s: float, measure: Measure, failures: dict[str, int]) -> None:
        self._name, self._every_s, self._measure, self._failures = name, every_s, measure, failures
        self._at_s = float("-inf")
        self._found: list[Metric] = []
        failures[name] = 0

    def collect(self) -> Iterator[Metric]:
        if time.monotonic() - self._at_s >= self._every_s:
            try:
                self._found = list(self._measure())
            except Exception as error:  # whatever is wrong with this part, the others are told
                self._found = []
                self._failures[self._name] += 1
                logger.log(
                    logging.WARNING if self._failures[self._name] == 1 else logging.DEBUG,
                    "the metrics of %s cannot be counted: %r",
                    self._name,
                    error,
                )
            self._at_s = time.monotonic()
        yield from self._found


class Metrics:
    """The figures of one ingress. `registry` holds its counters already; `active`: miners that answered lately."""

    def __init__(
        self,
        settings: Settings,
        inbox: Inbox,
        tables: Tables,
        registry: CollectorRegistry,
        *,
        active: Callable[[], int],
        healthy: Callable[[], bool],
    ) -> None:
        self._settings, self._inbox, self._outbox = settings, inbox, Outbox(inbox.engine)
        self._runs, self._registry = Runs(inbox.engine), registry
        self._active, self._healthy = active, healthy
        self._started_s = time.time()
        self._counting = threading.Lock()
        self._failures: dict[str, int] = {}
        self.progress = Progress(inbox.engine, tables, registry, delivers=settings.challenge_api_url is not None)
        for name, every_s, measure in (
            ("process", 0.0, self._process),
            ("backlog", QUICK_S, self._backlog),
            ("deliveries", QUICK_S, self._deliveries),
            ("embedder", QUICK_S, lambda: embedder(settings)),
            ("disks", SLOW_S, lambda: disks(settings)),
            ("services", SLOW_S, Services(settings.home).measured),
            ("totals", RARE_S, self._totals),
            ("chain", RARE_S, lambda: chain(settings, inbox.engine, datetime.now(UTC))),
        ):
            registry.register(Kept(name, every_s, measure, self._failures))
        self._followed_s = float("-inf")

    def text(self, accept: str) -> tuple[bytes, str]:
        """The figures and their content type, in the format that is asked for. Blocks. Raises Busy."""
        if not self._counting.acquire(timeout=ONE_AT_A_TIME_S):
            raise Busy("figures are being counted for somebody else; ask again in a few seconds")
        try:
            self._follow()
            encode, content_type = choose_encoder(accept)
            return encode(self._registry), content_type
        finally:
            self._counting.release()

    def _follow(self) -> None:
        if time.monotonic() - self._followed_s < QUICK_S:
            return
        self._followed_s = time.monotonic()
        try:
            self.progress.follow()
        except Exception as error:  # it follows on at the next look
            logger.warning("the progress of challenges cannot be followed: %r", error)

    def _process(self) -> Iterator[Metric]:
        about = {"version": VERSION, "python": platform.python_version()}
        yield InfoMetricFamily("loosh_build", "What runs here.", value=about)
        yield GaugeMetricFamily("loosh_start_time_seconds", "When the ingress started.", value=self._started_s)
        yield GaugeMetricFamily("loosh_healthy", "1 when challenges are taken.", value=float(self._healthy()))
        failed = CounterMetricFamily("loosh_metrics_failures", "Parts that could not be counted.", labels=["part"])
        for name, count in self._failures.items():
            failed.add_metric([name], count)
        yield failed

    def _backlog(self) -> Iterator[Metric]:
        waiting = self._inbox.waiting()
        backlog = GaugeMetricFamily("loosh_backlog", "Challenges without scores, by state.", labels=["state"])
        for state in WITHOUT_SCORES:
            backlog.add_metric([state], waiting.get(state, 0))
        yield backlog
        oldest, now = self._inbox.oldest_waiting(), datetime.now(UTC)
        late_s = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
        yield GaugeMetricFamily("loosh_oldest_due_seconds", "How long a run has been due, at most.", value=late_s)
        in_flight = self._runs.queue(now).in_flight
        yield GaugeMetricFamily("loosh_in_flight", "Challenges that are being evaluated.", value=in_flight)
        most = self._settings.max_concurrent_runs
        yield GaugeMetricFamily("loosh_in_flight_limit", "MAX_CONCURRENT_RUNS.", value=most)

    def _deliveries(self) -> Iterator[Metric]:
        counts = GaugeMetricFamily("loosh_deliveries", "What is not delivered, by kind.", labels=["kind", "state"])
        oldest = GaugeMetricFamily(
            "loosh_delivery_oldest_seconds", "Age of the oldest of them.", labels=["kind", "state"]
        )
        now = datetime.now(UTC)
        for (kind, state), found in self._outbox.undelivered().items():
            counts.add_metric([kind, state], found.count)
            oldest.add_metric([kind, state], max(0.0, (now - found.oldest_at).total_seconds()))
        yield from (counts, oldest)

    def _totals(self) -> Iterator[Metric]:
        stats = self._inbox.stats()
        by_state = GaugeMetricFamily("loosh_challenges", "All challenges ever accepted, by state.", labels=["state"])
        for state in ChallengeState:
            by_state.add_metric([state], stats.by_state.get(state, 0))
        yield by_state
        for name, about, value in (
            ("challenges_accepted", "Challenges ever accepted.", stats.total),
            ("miners_asked", "Requests to miners, of all challenges.", stats.asked),
            ("miners_answered", "Answers of miners, of all challenges.", stats.answered),
        ):
            yield CounterMetricFamily(f"loosh_{name}", about, value=value)
        pruned_at = RetentionNotes(self._inbox.engine).pruned_at()
        yield GaugeMetricFamily(
            "loosh_pruned_time_seconds",
            "When Dagster's history was last pruned to the end; 0 before the first time.",
            value=0.0 if pruned_at is None else pruned_at.timestamp(),
        )
        yield GaugeMetricFamily(
            "loosh_miners_active", "Miners that answered within the last hour.", value=self._active()
        )


def registry_and_counts() -> tuple[CollectorRegistry, Counts]:
    """What the app counts in from its first request on, before stores are open."""
    # When each began: a series more for every one of them, that nobody looks at.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=False)
    return registry, Counts(registry)
