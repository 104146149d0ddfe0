"""`loosh status`, `loosh doctor`, `loosh retry`: how a validator is, and taking up what it gave up."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from loosh_pipeline.cli.telling import out
from loosh_pipeline.settings import get_settings


def status() -> None:
    """Say how far accepted challenges have come, what waits to be told, and which pages answer."""
    from loosh_pipeline.status import status_tables

    for table in status_tables(get_settings()):
        out.print(table)


def doctor() -> None:
    """Say what an operator should know: what the chosen profile costs, and what the figures hang on."""
    from loosh_pipeline.doctor import findings

    table = Table("", "", show_header=False, title="doctor")
    for found in findings(get_settings()):
        mark = "[green]ok[/]" if found.verdict == "ok" else "[yellow]look[/]"
        table.add_row(mark, found.subject, escape(found.said))
    out.print(table)


def retry() -> None:
    """Take up again what was given up: challenges parked as failed, and results that the Challenge API refused."""
    from loosh_pipeline.store.inbox import Inbox
    from loosh_pipeline.store.outbox import Outbox

    now = datetime.now(UTC)
    inbox = Inbox.open(get_settings().inbox_url)
    challenges, results = inbox.unpark(now), Outbox(inbox.engine).unpark(now)
    out.print(f"{challenges} challenges get another run, {results} results are told again")
