"""Looking at everything that may be wrong: stores, Dagster, the ingress, and what `loosh up` says of its processes.

What cannot be looked at is said, and nothing that was seen there before counts as over.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import httpx
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.alerting.conditions import RUNS_WITHIN, FailedCheck, FailedRuns, Seen, Source
from loosh_pipeline.chain.alerts import alerts as chain_alerts
from loosh_pipeline.chain_status import stored_standing
from loosh_pipeline.errors import LooshError
from loosh_pipeline.orchestrator import DagsterApi, FailedRun
from loosh_pipeline.run_state import processes
from loosh_pipeline.services import LOOPBACK
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox, OutboxState

WITHIN_S = 5.0
TOLD_BY_THE_CHAIN = frozenset({"validator_in_order", "weights_in_time", "weights_on_chain"})
"""Checks that say what the chain's own alerts say, as of the last run."""


@dataclass(slots=True)
class Watch:
    """Looks at one validator again and again; connections are kept."""

    settings: Settings
    dagster: DagsterApi
    http: httpx.Client
    inbox: Inbox | None = None

    @classmethod
    def of(cls, settings: Settings) -> Watch:
        url = str(settings.dagster_url or f"http://{LOOPBACK}:{settings.dagster_port}")
        return cls(settings, DagsterApi.at(url, WITHIN_S), httpx.Client(timeout=WITHIN_S, trust_env=False))

    def close(self) -> None:
        self.dagster.close()
        self.http.close()
        if self.inbox is not None:
            self.inbox.engine.dispose()

    def look(self, now: datetime) -> Seen:
        """How things stand. Raises nothing that a store, Dagster or the network does."""
        blind: dict[Source, str] = {}
        seen = Seen(now, deaths=processes(self.settings.home).deaths, blind=blind)
        for source, part in (
            (Source.STORES, self._stores),
            (Source.CHAIN, self._chain),
            (Source.DAGSTER, self._runs),
            (Source.DAGSTER, self._checks),
            (Source.INGRESS, self._ingress),
        ):
            if source in blind:
                continue
            try:
                seen = part(seen)
            except (LooshError, SQLAlchemyError, OSError, httpx.HTTPError, ValueError) as error:
                blind[source] = f"{type(error).__name__}: {error}"
        return seen

    def _opened(self) -> Inbox:
        if self.inbox is None:
            self.inbox = Inbox.open(self.settings.inbox_url)
        return self.inbox

    def _stores(self, seen: Seen) -> Seen:
        inbox = self._opened()
        outbox, parked = Outbox(inbox.engine), inbox.parked()
        refused = outbox.refused(1)
        return replace(
            seen,
            parked_challenges=parked.count,
            parked_example=f"{parked.newest}: {parked.failure}" if parked.newest else "",
            parked_deliveries={
                kind: found.count
                for (kind, state), found in outbox.undelivered().items()
                if state is OutboxState.PARKED
            },
            refusal=refused[0].detail if refused else "",
        )

    def _chain(self, seen: Seen) -> Seen:
        standing = stored_standing(self.settings, self._opened().engine, seen.now)
        return replace(seen, chain=chain_alerts(standing))

    def _runs(self, seen: Seen) -> Seen:
        failed = self.dagster.failed_runs(seen.now - RUNS_WITHIN)
        by_job: dict[str, list[FailedRun]] = {}
        for run in failed:
            by_job.setdefault(run.job, []).append(run)
        return replace(seen, failed_runs=[self._of_a_job(job, runs) for job, runs in by_job.items()])

    def _of_a_job(self, job: str, runs: Sequence[FailedRun]) -> FailedRuns:
        """The newest run's own words are worth a question, and its failure is told without them too."""
        said: Sequence[str] = ()
        with suppress(LooshError):
            said = self.dagster.outcome(runs[0].run_id).said
        of = f" of challenge {runs[0].partition}" if runs[0].partition else ""
        return FailedRuns(job, len(runs), f"{runs[0].run_id}{of}", next(iter(said), ""))

    def _checks(self, seen: Seen) -> Seen:
        failed = [each for each in self.dagster.failed_checks() if each.name not in TOLD_BY_THE_CHAIN]
        return replace(
            seen, failed_checks=[FailedCheck(each.asset, each.name, each.blocks, each.reason) for each in failed]
        )

    def _ingress(self, seen: Seen) -> Seen:
        reply = self.http.get(f"{self.settings.local_url}/availability/health")
        reply.raise_for_status()
        said: Any = reply.json()
        return replace(seen, unwell=[str(reason) for reason in said["reasons"]])
