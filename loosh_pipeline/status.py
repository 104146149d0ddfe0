"""How a validator is, from its own stores and ports."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from loosh_pipeline.alerting.book import read
from loosh_pipeline.chain.alerts import alerts
from loosh_pipeline.chain_status import alerts_table, standing_table, stored_standing
from loosh_pipeline.domain import RESULTS, ChallengeState, DeliveryKind
from loosh_pipeline.services import LOOPBACK
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.supervisor import listens

SHOWN = 10
"""Deliveries that are listed: the newest refused ones, and those that are tried next."""


def status_tables(settings: Settings) -> list[Table]:
    """Challenges, results to be told, the chain as last seen, and processes; for a terminal."""
    return [
        _challenges(settings),
        *_waiting(settings),
        *_refused(settings),
        *_chain(settings),
        *_untold(settings),
        _processes(settings),
    ]


def _challenges(settings: Settings) -> Table:
    inbox = Inbox.open(settings.inbox_url)
    stats = inbox.stats()
    table = Table(title=f"challenges in {settings.home}", show_header=False)
    table.add_row("accepted", str(stats.total))
    for state in ChallengeState:
        table.add_row(f"  {state}", str(stats.by_state.get(state, 0)))
    table.add_row("miners asked", str(stats.asked))
    table.add_row("answered", str(stats.answered))
    outbox = Outbox(inbox.engine)
    for what, kinds in (("results", RESULTS), ("reports and pictures", frozenset(DeliveryKind) - RESULTS)):
        for outbox_state, count in outbox.counts(kinds).items():
            table.add_row(f"{what} {outbox_state}", str(count))
    table.add_row("taking challenges", _taking(settings, inbox))
    return table


def _taking(settings: Settings, inbox: Inbox) -> str:
    if not listens(settings.api_port, settings.api_reached_at):
        return "no: the ingress does not listen; start `loosh up`"
    return "yes" if inbox.is_running() else "no: stopped with /set_running"


def _waiting(settings: Settings) -> list[Table]:
    """What could not be told yet, and why; no table when nothing was tried in vain."""
    now = datetime.now(UTC)
    rows = [each for each in Outbox(Inbox.open(settings.inbox_url).engine).waiting(SHOWN) if each.detail]
    table = Table("what", "of", "tried", "last answer", "next try", title="not told to the Challenge API yet")
    for each in rows:
        wait_s = max(0.0, (each.next_attempt_at - now).total_seconds())
        table.add_row(each.kind, escape(each.key), str(each.attempts), escape(each.detail), f"in {wait_s:.0f} s")
    return [table] if rows else []


def _refused(settings: Settings) -> list[Table]:
    """What the Challenge API refused for what it says; no table when it refused nothing."""
    refusals = Outbox(Inbox.open(settings.inbox_url).engine).refused(SHOWN)
    table = Table("what", "of", "answer", title="refused by the Challenge API; `loosh retry` tells it again")
    for refusal in refusals:
        table.add_row(refusal.kind, escape(refusal.key), escape(refusal.detail))
    return [table] if refusals else []


def _chain(settings: Settings) -> list[Table]:
    """How the validator stands, by what was seen last, and what should be looked at."""
    engine = Inbox.open(settings.inbox_url).engine
    standing = stored_standing(settings, engine, datetime.now(UTC))
    found = alerts(standing)
    return [standing_table(standing, settings), *([alerts_table(found)] if found else [])]


def _untold(settings: Settings) -> list[Table]:
    """Why alerts do not arrive; no table when they do, or when nobody is to be told."""
    hook = read(settings.home).hook
    if settings.alert_webhook_url is None or hook.failing_since is None:
        return []
    table = Table("since (UTC)", "tried", "last answer", title="alerts cannot be told; see ALERT_WEBHOOK_URL")
    table.add_row(f"{hook.failing_since:%Y-%m-%d %H:%M}", str(hook.attempts), escape(hook.said))
    return [table]


def _processes(settings: Settings) -> Table:
    table = Table("process", "port", "listens", title="processes")
    places = {
        "ingress": (settings.api_port, settings.api_reached_at),
        "Dagster webserver": (settings.dagster_port, LOOPBACK),
        "code server": (settings.code_server_port, LOOPBACK),
        "embedder": (settings.embedder_port, LOOPBACK),
    }
    if settings.embedding_url is not None:
        del places["embedder"]
    for name, (port, host) in places.items():
        table.add_row(name, str(port), "yes" if listens(port, host) else "no")
    if settings.embedding_url is not None:
        table.add_row("embedder", settings.embedding_url, "elsewhere")
    return table
