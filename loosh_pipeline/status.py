"""How a validator is, from its own stores, processes and ports: as plain values for programs, as tables for people."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from loosh_pipeline.alerting.book import read
from loosh_pipeline.chain.alerts import alerts
from loosh_pipeline.chain_status import alerts_table, facts, standing_table, stored_standing, unreached
from loosh_pipeline.doctor.ports import holder_of, in_use, not_bindable
from loosh_pipeline.domain import RESULTS, ChallengeState, DeliveryKind
from loosh_pipeline.errors import ServiceError
from loosh_pipeline.lock import runs_in
from loosh_pipeline.own_health import unwell
from loosh_pipeline.processes import Process, processes_of
from loosh_pipeline.services import planned
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.roles import EMBEDDER, EMBEDS, INGRESS, KEEPS, RUNS
from loosh_pipeline.store.hosts import Hosts
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.supervisor import Service, listens
from loosh_pipeline.workers.config import folder
from loosh_pipeline.workers.reach import broker_problem, broker_shown

SHOWN = 10
"""Deliveries that are listed: the newest refused ones, and those that are tried next."""
HEALTH_WITHIN_S = 2.0


def status_facts(settings: Settings) -> dict[str, Any]:
    """Everything as plain values: challenges, deliveries, the chain as last seen, machines of workers, processes and
    broker. On a machine of few services, of what there is (docs/many-machines.md).
    """
    here = {"home": str(settings.home), "broker": broker_facts(settings), "processes": processes_facts(settings)}
    if not settings.runs_here(*KEEPS):  # the embedder's machine knows nothing of challenges
        return here
    inbox, now = Inbox.open(settings.inbox_url), datetime.now(UTC)
    why_not, standing = _not_taking(settings, inbox), stored_standing(settings, inbox.engine, now)
    return {
        **here,
        "taking_challenges": why_not is None if settings.runs_here(INGRESS) else None,
        "not_taking_because": why_not,
        "challenges": _challenges(inbox, now),
        "deliveries": _deliveries(Outbox(inbox.engine), now),
        "chain": facts(standing, settings) | {"reached": not unreached(standing, settings)},
        "hosts": hosts_facts(settings, inbox.engine),
    }


def status_tables(settings: Settings) -> list[Table]:
    """The same, for a terminal."""
    found = status_facts(settings)
    if "challenges" not in found:
        return [_processes_table(found)]
    return [
        _challenges_table(found),
        *_waiting_table(found["deliveries"]["waiting"]),
        *_refused_table(found["deliveries"]["refused"]),
        *_chain_tables(settings),
        *_untold_table(settings),
        *_hosts_table(found["hosts"]),
        _processes_table(found),
    ]


def _challenges(inbox: Inbox, now: datetime) -> dict[str, Any]:
    stats, oldest = inbox.stats(), inbox.oldest_waiting()
    by_state = {state.value: stats.by_state.get(state, 0) for state in ChallengeState}
    return {
        "accepted": stats.total,
        "by_state": by_state,
        "backlog": sum(inbox.waiting().values()),
        "oldest_waits_s": None if oldest is None else round(max(0.0, (now - oldest).total_seconds()), 1),
        "miners_asked": stats.asked,
        "answered": stats.answered,
    }


def _deliveries(outbox: Outbox, now: datetime) -> dict[str, Any]:
    return {
        "results": {state.value: count for state, count in outbox.counts(RESULTS).items()},
        "reports_and_pictures": {
            state.value: count for state, count in outbox.counts(frozenset(DeliveryKind) - RESULTS).items()
        },
        "waiting": [
            {
                "kind": each.kind.value,
                "key": each.key,
                "attempts": each.attempts,
                "detail": each.detail,
                "next_in_s": round(max(0.0, (each.next_attempt_at - now).total_seconds()), 1),
            }
            for each in outbox.waiting(SHOWN)
            if each.detail
        ],
        "refused": [
            {"kind": each.kind.value, "key": each.key, "detail": each.detail} for each in outbox.refused(SHOWN)
        ],
    }


def _not_taking(settings: Settings, inbox: Inbox) -> str | None:
    if not settings.runs_here(INGRESS):
        return None if inbox.is_running() else "stopped with /set_running"
    if not runs_in(settings.home):
        taken = not_bindable(settings.api_host, settings.api_port) == errno.EADDRINUSE
        by = in_use("API_PORT", settings.api_port, holder_of(settings.api_port, settings.api_host)) if taken else ""
        return "no validator runs here; " + (f"{by}; stop that, and start `loosh up`" if taken else "start `loosh up`")
    if not inbox.is_running():
        return "stopped with /set_running"
    try:
        return "; ".join(unwell(settings, HEALTH_WITHIN_S)) or None
    except ServiceError as error:
        return f"{error}; it may be starting, else see LOOSH_HOME/logs/ingress.log"


def hosts_facts(settings: Settings, engine: Engine) -> list[dict[str, Any]]:
    """Machines of workers that were heard of within a day, where there may be several."""
    known = Hosts(engine).known() if settings.spread else ()
    return [
        {
            "host": each.host,
            "queue": each.queue,
            "processes": each.children,
            "busy": each.busy,
            "silent_s": round(each.silent_s, 1),
            "heard": each.is_heard,
        }
        for each in known
    ]


def broker_facts(settings: Settings) -> dict[str, Any] | None:
    """What hands out runs; None on a machine that neither hands out nor takes any."""
    if not settings.runs_here(*RUNS):
        return None
    if settings.hands_out_files:
        return {"at": str(folder(settings)), "reachable": True, "problem": None}
    problem = broker_problem(settings)
    return {"at": broker_shown(settings), "reachable": problem is None, "problem": problem}


def processes_facts(settings: Settings) -> list[dict[str, Any]]:
    """What `loosh up` runs, whether or not it does now."""
    running = list(processes_of(settings.home))
    found = [_process(each, running) for each in planned(settings)]
    if settings.runs_here(*EMBEDS) and not any(each["name"] == EMBEDDER for each in found):
        where = settings.embedding_url or str(settings.embedder_url)
        found.append({"name": EMBEDDER, "pid": None, "port": None, "state": "elsewhere", "at": where})
    return found


def _process(service: Service, running: Sequence[Process]) -> dict[str, Any]:
    """`state`: runs, starting (it does not listen yet), listens (though no process of ours is seen), or stopped."""
    pid = _pid(service, running)
    reached = service.port is None or listens(service.port, service.host)
    if pid is not None:
        state = "runs" if reached else "starting"
    else:
        state = "listens" if reached and service.port is not None else "stopped"
    at = None if service.port is None else f"{service.host}:{service.port}"
    return {"name": service.name, "pid": pid, "port": service.port, "state": state, "at": at}


def _pid(service: Service, running: Sequence[Process]) -> int | None:
    """The process with its command line; of those with the same one, such as workers' children, the first parent."""
    words = " ".join(service.command[1:])
    alike = {each.pid: each for each in running if each.command.strip().partition(" ")[2] == words}
    return next((pid for pid, each in sorted(alike.items()) if each.parent not in alike), None)


def _challenges_table(found: Mapping[str, Any]) -> Table:
    challenges, deliveries = found["challenges"], found["deliveries"]
    table = Table(title=f"challenges in {found['home']}", show_header=False)
    table.add_row("accepted", str(challenges["accepted"]))
    for state, count in challenges["by_state"].items():
        table.add_row(f"  {state}", str(count))
    table.add_row("backlog", _backlog(challenges))
    table.add_row("miners asked", str(challenges["miners_asked"]))
    table.add_row("answered", str(challenges["answered"]))
    for what, kinds in (("results", "results"), ("reports and pictures", "reports_and_pictures")):
        for state, count in deliveries[kinds].items():
            table.add_row(f"{what} {state}", str(count))
    why_not = found["not_taking_because"]
    taking = "yes" if found["taking_challenges"] else "by the ingress of another machine, which says so itself"
    table.add_row("taking challenges", taking if why_not is None else f"no: {escape(why_not)}")
    return table


def _backlog(challenges: Mapping[str, Any]) -> str:
    """Challenges without scores that are not given up, and how long the oldest has waited for its run."""
    oldest_s = challenges["oldest_waits_s"]
    return f"{challenges['backlog']}" + ("" if oldest_s is None else f", the oldest waits {oldest_s:.0f} s for a run")


def _waiting_table(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """What could not be told yet, and why; no table when nothing was tried in vain."""
    table = Table("what", "of", "tried", "last answer", "next try", title="not told to the Challenge API yet")
    for row in rows:
        tried, next_in = str(row["attempts"]), f"in {row['next_in_s']:.0f} s"
        table.add_row(row["kind"], escape(row["key"]), tried, escape(row["detail"]), next_in)
    return [table] if rows else []


def _refused_table(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """What the Challenge API refused for what it says; no table when it refused nothing."""
    table = Table("what", "of", "answer", title="refused by the Challenge API; `loosh retry` tells it again")
    for row in rows:
        table.add_row(row["kind"], escape(row["key"]), escape(row["detail"]))
    return [table] if rows else []


def _chain_tables(settings: Settings) -> list[Table]:
    """How the validator stands, by what was seen last, and what should be looked at."""
    standing = stored_standing(settings, Inbox.open(settings.inbox_url).engine, datetime.now(UTC))
    found, table = alerts(standing), standing_table(standing, settings)
    if unreached(standing, settings):
        since = "" if standing.subnet is None else f" since {standing.subnet.taken_at:%Y-%m-%d %H:%M:%S} UTC"
        table.add_row("chain", f"not reached{since}; `loosh chain status` asks it")
    return [table, *([alerts_table(found)] if found else [])]


def _untold_table(settings: Settings) -> list[Table]:
    """Why alerts do not arrive; no table when they do, or when nobody is to be told."""
    hook = read(settings.home).hook
    if settings.alert_webhook_url is None or hook.failing_since is None:
        return []
    table = Table("since (UTC)", "tried", "last answer", title="alerts cannot be told; see ALERT_WEBHOOK_URL")
    table.add_row(f"{hook.failing_since:%Y-%m-%d %H:%M}", str(hook.attempts), escape(hook.said))
    return [table]


def _hosts_table(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Which machines execute runs, as they said last; no table where all are on this one."""
    table = Table("machine", "queue", "processes", "busy", "heard of", title="workers of all machines")
    for row in rows:
        heard = "now" if row["heard"] else f"gone, {row['silent_s']:.0f} s ago"
        table.add_row(escape(row["host"]), row["queue"], str(row["processes"]), str(row["busy"]), heard)
    return [table] if rows else []


def _processes_table(found: Mapping[str, Any]) -> Table:
    table = Table("process", "state", "pid", "at", title="processes")
    for each in found["processes"]:
        table.add_row(each["name"], each["state"], str(each["pid"] or ""), each["at"] or "")
    if (broker := found["broker"]) is None:
        return table
    table.add_row("broker", "reachable" if broker["reachable"] else escape(broker["problem"]), "", broker["at"])
    return table
