"""What alerts stand, by what was seen: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from loosh_pipeline.chain.alerts import Alert as ChainAlert
from loosh_pipeline.retention.overdue import Overdue
from loosh_pipeline.supervisor import Death

UNWELL_FOR_S = 300.0
"""How long the validator must be unwell, or Dagster away, before anybody is told: restarts and hiccups pass."""
FIRST_PRUNING_S = 6 * 3600.0
"""How long the first pruning may take, after an upgrade."""
RUNS_WITHIN = timedelta(minutes=30)
"""How long a failed run is an alert when no other follows."""
DEATHS_WITHIN = timedelta(minutes=10)
MANY_DEATHS = 3
CRITICAL_CODES = frozenset(
    {"mode_emergency", "not_registered", "no_hotkey", "signer_mismatch", "no_permit", "weights_blocked", "chain_unseen"}
)

OF_A_START = frozenset({"chain_unseen", "chain_stale"})
"""Codes that stand until a validator that was just started has looked at the chain."""


class Severity(StrEnum):
    CRITICAL = "critical"
    WARNING = "warning"


class Source(StrEnum):
    """What was looked at. Of one that cannot be, its alerts stand as they are."""

    STORES = "stores"
    CHAIN = "chain"
    DAGSTER = "dagster"
    INGRESS = "ingress"
    PROCESSES = "processes"


@dataclass(frozen=True, slots=True)
class Alert:
    """`key` is the same as long as it is the same alert; `count` grows with what it counts, and `newest` changes with
    each that comes. It is told when it has stood for `after_s`. `began_at`: by what it is of, where that says so.
    """

    key: str
    source: Source
    severity: Severity
    text: str
    action: str
    count: int = 1
    after_s: float = 0.0
    newest: str = ""
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FailedRuns:
    """Runs of a job that failed within RUNS_WITHIN, the first at `began_at`: how many, the newest, and what it said."""

    job: str
    count: int
    run_id: str
    said: str = ""
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check of an asset's newest materialization that does not hold. `blocking`: it holds something up."""

    asset: str
    name: str
    blocking: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """How things stood at `now`. `blind`: what could not be looked at, and why.

    `unwell`: reasons for which no challenge is taken.
    """

    now: datetime
    parked_challenges: int = 0
    parked_example: str = ""
    parked_deliveries: Mapping[str, int] = field(default_factory=dict)
    refusal: str = ""
    chain: Sequence[ChainAlert] = ()
    failed_runs: Sequence[FailedRuns] = ()
    failed_checks: Sequence[FailedCheck] = ()
    unwell: Sequence[str] = ()
    deaths: Mapping[str, Sequence[Death]] = field(default_factory=dict)
    silent: Mapping[str, float] = field(default_factory=dict)
    """Machines of workers that went without a word, and for how many seconds."""
    unworked: Sequence[str] = ()
    """Queues of which no worker is heard of on any machine."""
    blind: Mapping[Source, str] = field(default_factory=dict)
    overdue: Overdue | None = None


def standing_alerts(seen: Seen) -> list[Alert]:
    """Everything that somebody should look at, the critical first."""
    found = [
        *_of_the_chain(seen),
        *_of_health(seen),
        *_of_processes(seen),
        *_of_machines(seen),
        *_of_checks(seen),
        *_of_runs(seen),
        *_of_what_is_parked(seen),
        *_of_history(seen),
        *_of_what_is_away(seen),
    ]
    return sorted(found, key=lambda alert: alert.severity is not Severity.CRITICAL)


def _of_the_chain(seen: Seen) -> Iterator[Alert]:
    """A code of which there are several alerts is one: their texts are told together."""
    by_code: dict[str, list[ChainAlert]] = {}
    for each in seen.chain:
        by_code.setdefault(each.code, []).append(each)
    for code, those in by_code.items():
        severity = Severity.CRITICAL if code in CRITICAL_CODES else Severity.WARNING
        text = "; ".join(each.text for each in those)
        after_s = UNWELL_FOR_S if code in OF_A_START else 0.0
        began_at = min((each.since for each in those if each.since is not None), default=None)
        yield Alert(f"chain:{code}", Source.CHAIN, severity, text, those[0].action, after_s=after_s, began_at=began_at)


def _of_health(seen: Seen) -> Iterator[Alert]:
    if seen.unwell:
        yield Alert(
            "unwell",
            Source.INGRESS,
            Severity.CRITICAL,
            f"no challenge is taken: {'; '.join(seen.unwell)}",
            "as the reason says; docs/operating/troubleshooting.md, `When something is wrong`",
            after_s=UNWELL_FOR_S,
        )


def _of_processes(seen: Seen) -> Iterator[Alert]:
    for name, deaths in seen.deaths.items():
        lately = [death for death in deaths if timedelta(0) <= seen.now - death.at <= DEATHS_WITHIN]
        if len(lately) >= MANY_DEATHS:
            yield Alert(
                f"restarts:{name}",
                Source.PROCESSES,
                Severity.CRITICAL,
                f"{name} was restarted {len(lately)} times within {DEATHS_WITHIN.total_seconds() / 60:.0f} minutes; "
                f"it {lately[-1].why}",
                f"its last words are in LOOSH_HOME/logs/{name}.log",
                began_at=lately[0].at,
            )


def _of_machines(seen: Seen) -> Iterator[Alert]:
    for queue in seen.unworked:
        yield Alert(
            f"unworked:{queue}",
            Source.STORES,
            Severity.CRITICAL,
            f"no machine with workers of the queue {queue} is heard of; what is handed out there waits",
            "start `loosh up` on a machine of workers; docs/many-machines.md",
            after_s=UNWELL_FOR_S,
        )
    for host, silent_s in sorted(seen.silent.items()):
        yield Alert(
            f"silent:{host}",
            Source.STORES,
            Severity.WARNING,
            f"the machine {host} was last heard of {silent_s / 60:.0f} minutes ago, and did not say that it ends",
            "see what became of it, and start it again; one that is gone for good is forgotten after a day",
            after_s=UNWELL_FOR_S,
        )


def _of_checks(seen: Seen) -> Iterator[Alert]:
    for check in seen.failed_checks:
        yield Alert(
            f"check:{check.asset}:{check.name}",
            Source.DAGSTER,
            Severity.CRITICAL if check.blocking else Severity.WARNING,
            f"the check {check.name} of {check.asset} fails{': ' if check.reason else ''}{check.reason}",
            f"the page of {check.asset} in Dagster" + ("; until then nothing that follows is made" * check.blocking),
        )


def _of_runs(seen: Seen) -> Iterator[Alert]:
    for runs in seen.failed_runs:
        many = "a run" if runs.count == 1 else f"{runs.count} runs"
        yield Alert(
            f"runs:{runs.job}",
            Source.DAGSTER,
            Severity.WARNING,
            f"{many} of {runs.job} failed, the newest {runs.run_id}{': ' if runs.said else ''}{runs.said}",
            "the run's page in Dagster says why; it is tried again by itself",
            newest=runs.run_id,
            began_at=runs.began_at,
        )


def _of_what_is_parked(seen: Seen) -> Iterator[Alert]:
    if seen.parked_challenges:
        yield Alert(
            "parked:challenges",
            Source.STORES,
            Severity.CRITICAL,
            f"{seen.parked_challenges} challenges are given up, the newest {seen.parked_example}",
            "put right what it says, then `loosh retry`",
            count=seen.parked_challenges,
        )
    for kind, count in sorted(seen.parked_deliveries.items()):
        yield Alert(
            f"parked:{kind}",
            Source.STORES,
            Severity.WARNING,
            f"{count} deliveries of kind {kind} were refused by the Challenge API; the newest refusal: {seen.refusal}",
            "`loosh status` lists them; `loosh retry` tells them again",
            count=count,
        )


def _of_history(seen: Seen) -> Iterator[Alert]:
    if seen.overdue is not None:
        yield Alert(
            "history",
            Source.STORES,
            Severity.WARNING,
            seen.overdue.text,
            "end the backfill or run that it names, in the Dagster UI; or see why the job `retention` does not succeed",
            after_s=0.0 if seen.overdue.for_good else FIRST_PRUNING_S,
        )


_AWAY = {
    Source.INGRESS: (Severity.CRITICAL, "is `loosh up` running? LOOSH_HOME/logs/ingress.log"),
    Source.DAGSTER: (Severity.WARNING, "LOOSH_HOME/logs/dagster-webserver.log and code-server.log say why"),
    Source.STORES: (Severity.CRITICAL, "see that the disk is neither full nor read-only"),
    Source.CHAIN: (Severity.WARNING, "see that LOOSH_HOME/tables can be read"),
}


def _of_what_is_away(seen: Seen) -> Iterator[Alert]:
    for source, why in seen.blind.items():
        severity, action = _AWAY.get(source, (Severity.WARNING, "LOOSH_HOME/logs"))
        text = f"{source} cannot be looked at: {why}"
        yield Alert(f"away:{source}", Source.PROCESSES, severity, text, action, after_s=UNWELL_FOR_S)
