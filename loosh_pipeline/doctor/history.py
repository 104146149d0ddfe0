"""Whether Dagster's history is pruned, and how much of the disk it is going to take."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from loosh_pipeline.doctor.finding import Finding, look, ok
from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.database import looking, stands_at
from loosh_pipeline.store.inbox import pruned_at

MB_PER_CHALLENGE = 0.26
"""What Dagster keeps of one on SQLite: a file of 204 KB, 47 KB of events in the index, 2 KB of the record."""
PICTURES_MB = 0.1
TOO_MANY = 1.1
"""How many times RETAIN_CHALLENGES there may be before a day is over: see `retention_schedule`."""
LATE_AFTER = timedelta(days=2)


def history(settings: Settings, runs: bool) -> Iterator[Finding]:
    """`runs`: whether a validator does, which would prune."""
    most_gb = settings.retain_challenges * TOO_MANY * (MB_PER_CHALLENGE + PICTURES_MB) / 1000
    takes = f"history and pictures take {most_gb:.1f} GB at most (RETAIN_CHALLENGES={settings.retain_challenges})"
    try:
        if stands_at(settings.inbox_url, "inbox") != "up to date":
            yield ok("history", takes)
            return
    except StoreError:  # the line of the database says so
        return
    with looking(settings.inbox_url, "inbox") as connection:
        last = pruned_at(connection)
    if last is None:
        yield ok("history", f"not pruned yet; {takes}")
        return
    ago = datetime.now(UTC) - last
    said = f"pruned {ago.total_seconds() / 3600:.0f} h ago; {takes}"
    if runs and ago > LATE_AFTER:
        yield look("history", said, "look at the runs of the job `retention` in the Dagster UI: why does none succeed?")
    else:
        yield ok("history", said)
