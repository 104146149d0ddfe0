"""Looking at everything that may be wrong: stores, Dagster, the ingress, and what `loosh up` says of its processes.

What cannot be looked at is said, and nothing that was seen there before counts as over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

import httpx

from loosh_pipeline.alerting.conditions import RUNS_WITHIN, FailedCheck, FailedRuns, Seen, Source
from loosh_pipeline.chain.alerts import Alert as ChainAlert
from loosh_pipeline.chain.alerts import Standing
from loosh_pipeline.chain.alerts import alerts as chain_alerts
from loosh_pipeline.chain_status import stored_standing
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import LooshError, StoreError, UnknownChallenge
from loosh_pipeline.orchestrator import DagsterApi, FailedRun
from loosh_pipeline.retention.overdue import Overdue, overdue_of
from loosh_pipeline.run_state import processes
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.roles import INGRESS
from loosh_pipeline.store.hosts import Hosts
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox, OutboxState
from loosh_pipeline.workers.config import EVALUATIONS, UPKEEP

logger = logging.getLogger(__name__)

WITHIN_S = 5.0
RUNS_EVERY_S, CHECKS_EVERY_S, CHAIN_EVERY_S, HISTORY_EVERY_S = 30.0, 60.0, 60.0, 60.0
"""How often what costs much is asked: an idle validator is to take next to nothing."""
TOLD_BY_THE_CHAIN = frozenset({"validator_in_order", "weights_in_time", "weights_on_chain"})
"""Checks that say what the chain's own alerts say, as of the last run."""


Found = TypeVar("Found")


@dataclass(slots=True)
class Watch:
    """Looks at one validator again and again; connections are kept, and answers that cost much for a while.

    `health`: asks an ingress of this process why it takes no challenge; without it, that is asked over HTTP.
    `standing`: of the validator on the chain, as it was looked at last; None where it never could be.
    """

    settings: Settings
    dagster: DagsterApi
    http: httpx.Client
    inbox: Inbox | None = None
    health: Callable[[], Sequence[str]] | None = None
    chain_every_s: float = CHAIN_EVERY_S
    standing: Standing | None = None
    _kept: dict[str, tuple[datetime, Any]] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)
    """First words of failed runs, by run."""
    _blind: set[Source] = field(default_factory=set)
    _chain_seen: bool = False

    @classmethod
    def of(cls, settings: Settings, **more: Any) -> Watch:
        url = str(settings.dagster_url or settings.own_dagster_url)
        return cls(settings, DagsterApi.at(url, WITHIN_S), httpx.Client(timeout=WITHIN_S, trust_env=False), **more)

    def close(self) -> None:
        self.dagster.close()
        self.http.close()
        if self.inbox is not None:
            self.inbox.engine.dispose()

    def look(self, now: datetime) -> Seen:
        """How things stand. Raises nothing: what is wrong with a part, whatever it is, hides no other part."""
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
            except Exception as error:
                blind[source] = _said(error)
                if source not in self._blind:
                    logger.warning("%s cannot be looked at: %r", source, error)
        self._blind = set(blind)
        return seen

    def _every(self, seconds: float, name: str, now: datetime, ask: Callable[[], Found]) -> Found:
        """What was answered within so many seconds, else what is answered now."""
        at, found = self._kept.get(name, (None, None))
        if at is None or not 0 <= (now - at).total_seconds() < seconds:
            found = ask()
            self._kept[name] = now, found
        return found  # type: ignore[return-value]  # of this name

    def _opened(self) -> Inbox:
        if self.inbox is None:
            self.inbox = Inbox.open(self.settings.inbox_url)
        return self.inbox

    def _stores(self, seen: Seen) -> Seen:
        inbox = self._opened()
        outbox, parked = Outbox(inbox.engine), inbox.parked()
        refused = outbox.refused(1)
        hosts = Hosts(inbox.engine).known() if self.settings.spread else ()
        heard = {each.queue for each in hosts if each.is_heard}
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
            overdue=self._every(HISTORY_EVERY_S, "history", seen.now, lambda: self._overdue(inbox, seen.now)),
            silent={each.host: each.silent_s for each in hosts if not each.is_heard},
            unworked=[queue for queue in (EVALUATIONS, UPKEEP) if queue not in heard] if self.settings.spread else (),
        )

    def _overdue(self, inbox: Inbox, now: datetime) -> Overdue | None:
        return overdue_of(inbox, self.settings.retain_challenges, now)

    def _chain(self, seen: Seen) -> Seen:
        return replace(
            seen, chain=self._every(self.chain_every_s, "chain", seen.now, lambda: self._of_the_chain(seen.now))
        )

    def _of_the_chain(self, now: datetime) -> Sequence[ChainAlert]:
        """Raises StoreError when what was seen of the chain is gone: that is no news of the chain."""
        standing = stored_standing(self.settings, self._opened().engine, now)
        if standing.subnet is None and (self._chain_seen or standing.signers):
            raise StoreError(f"no snapshot of the chain is left in {self.settings.tables_root}; was it moved away?")
        self._chain_seen = standing.subnet is not None
        self.standing = standing
        return chain_alerts(standing)

    def _runs(self, seen: Seen) -> Seen:
        failed = self._every(RUNS_EVERY_S, "runs", seen.now, lambda: self._failed(seen))
        by_job: dict[str, list[FailedRun]] = {}
        for run in failed:
            by_job.setdefault(run.job, []).append(run)
        newest = {runs[0].run_id for runs in by_job.values()}
        self._said = {run_id: said for run_id, said in self._said.items() if run_id in newest}
        return replace(seen, failed_runs=[self._of_a_job(job, runs) for job, runs in by_job.items()])

    def _failed(self, seen: Seen) -> list[FailedRun]:
        return [run for run in self.dagster.failed_runs(seen.now - RUNS_WITHIN) if not self._made_good(run, seen)]

    def _made_good(self, run: FailedRun, seen: Seen) -> bool:
        """Whether what a run failed to do was done since, or another run does it, as after a stop that interrupts."""
        if run.partition is None:
            return run.ended_at is not None and self.dagster.succeeded(run.job, run.ended_at)
        if Source.STORES in seen.blind:
            return False
        try:
            row = self._opened().get(ChallengeId(run.partition))
        except UnknownChallenge:
            return False
        if row.scored_at is None:
            return row.run_id != run.run_id
        return run.ended_at is None or row.scored_at >= run.ended_at

    def _of_a_job(self, job: str, runs: Sequence[FailedRun]) -> FailedRuns:
        """The newest run's own words are worth a question, once, and its failure is told without them too."""
        run_id, partition = runs[0].run_id, runs[0].partition
        if run_id not in self._said:
            with suppress(LooshError):
                self._said[run_id] = next(iter(self.dagster.outcome(run_id).said), "")
        began_at = min((run.ended_at for run in runs if run.ended_at is not None), default=None)
        of = f" of challenge {partition}" if partition else ""
        return FailedRuns(job, len(runs), f"{run_id}{of}", self._said.get(run_id, ""), began_at)

    def _checks(self, seen: Seen) -> Seen:
        failed = self._every(CHECKS_EVERY_S, "checks", seen.now, self.dagster.failed_checks)
        wanted = [each for each in failed if each.name not in TOLD_BY_THE_CHAIN]
        return replace(
            seen, failed_checks=[FailedCheck(each.asset, each.name, each.blocks, each.reason) for each in wanted]
        )

    def _ingress(self, seen: Seen) -> Seen:
        """By the ingress of this machine; where there is none, whoever looks from one that has is told."""
        if self.health is not None:
            return replace(seen, unwell=list(self.health()))
        if not self.settings.runs_here(INGRESS):
            return seen
        reply = self.http.get(f"{self.settings.local_url}/availability/health")
        reply.raise_for_status()
        said: Any = reply.json()
        return replace(seen, unwell=[str(reason) for reason in said["reasons"]])


def _said(error: Exception) -> str:
    """Our own errors say everything; of others the kind says more than the words."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered HTTP {error.response.status_code}"
    return str(error) if isinstance(error, LooshError) else f"{type(error).__name__}: {error}"
