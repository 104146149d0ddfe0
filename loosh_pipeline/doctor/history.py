"""Whether Dagster's history is pruned, and how much of the disk it is going to take."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from loosh_pipeline.doctor.finding import Finding, look, ok
from loosh_pipeline.errors import StoreError
from loosh_pipeline.retention.overdue import TOO_MANY, overdue
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.database import looking, stands_at
from loosh_pipeline.store.retention_notes import kept_challenges, pruned_at

MB_PER_CHALLENGE = 0.26
"""What Dagster keeps of one on SQLite: a file of 204 KB, 47 KB of events in the index, 2 KB of the record."""
MB_PER_RUN = 0.22
"""What it keeps of a run of another job: the same file, and fewer events."""
PICTURES_MB = 0.1
S_PER_BLOCK, S_PER_DAY = 12, 86400
LATE_AFTER = timedelta(days=2)


def history(settings: Settings, runs: bool) -> Iterator[Finding]:
    """`runs`: whether a validator does, which would prune."""
    takes = takes_about(settings)
    try:
        if stands_at(settings.inbox_url, "inbox") != "up to date":
            yield ok("history", takes)
            return
    except StoreError:  # the line of the database says so
        return
    with looking(settings.inbox_url, "inbox") as connection:
        last, kept = pruned_at(connection), kept_challenges(connection)
    now = datetime.now(UTC)
    if wrong := overdue(last if runs else None, kept, None, settings.retain_challenges, now):
        yield look(
            "history", f"{wrong.text}; {takes}", "end what it names, or look at the runs of `retention`, in Dagster"
        )
    elif last is None:
        yield ok("history", f"not pruned yet; {takes}")
    else:
        yield _by_age(now - last, takes, runs)


def _by_age(ago: timedelta, takes: str, runs: bool) -> Finding:
    hours = ago.total_seconds() / 3600
    if hours < 0:
        said = f"pruned {-hours:.1f} h in the future, by this machine's clock; {takes}"
        return look("history", said, "set the clock right: it is behind, or was ahead then")
    said = f"pruned {hours:.0f} h ago; {takes}"
    if runs and ago > LATE_AFTER:
        return look(
            "history", said, "look at the runs of the job `retention` in the Dagster UI: why does none succeed?"
        )
    return ok("history", said)


def takes_about(settings: Settings) -> str:
    """What history and pictures come to take of the disk here, by kinds of runs. Postgres says itself what it takes."""
    most = TOO_MANY * settings.retain_challenges
    limits = f"(RETAIN_CHALLENGES={settings.retain_challenges})"
    if settings.dagster_database_url is not None:
        return f"pictures take about {most * PICTURES_MB / 1000:.1f} GB {limits}; history is in Postgres"
    weights = S_PER_DAY / (settings.weights_interval_blocks * S_PER_BLOCK)
    snapshots = (settings.metagraph_refresh_s, settings.availability_refresh_s, settings.network_view_refresh_s)
    upkeep = weights + sum(S_PER_DAY / each for each in snapshots) + 24 / settings.context_refresh_h
    runs = weights * settings.retain_weights_days + upkeep * settings.retain_upkeep_days
    gb = (most * (MB_PER_CHALLENGE + PICTURES_MB) + runs * MB_PER_RUN) / 1000
    return f"history and pictures take about {gb:.1f} GB {limits}"
