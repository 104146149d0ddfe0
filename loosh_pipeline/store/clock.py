"""After the clock was set back: what was put off, or dated, to a time that is yet to come counts from now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Column, Connection, Engine, Table, delete, update

from loosh_pipeline.store.outbox import WAIT, OutboxState
from loosh_pipeline.store.schema import challenges, flags, leases, outbox, submissions
from loosh_pipeline.store.tables import TableKey, Tables

MADE_AGAIN = ("metagraph", "miner_availability", "network_view")
"""Looks at the world of which the newest counts. When a challenge came, and its context, stays as it was recorded."""


def pull_back(engine: Engine, now: datetime, longest_lease: timedelta) -> int:
    """Let nothing wait for a time that the clock had wrongly shown; returns how many times were changed.

    A result may be told once more by that, which its receiver knows how to answer, and a receiver that had asked for
    patience is asked once more.
    """
    with engine.begin() as connection:
        changed = _at_most(connection, challenges, (challenges.c.next_run_at, challenges.c.state_changed_at), now)
        changed += _at_most(connection, submissions, (submissions.c.changed_at, submissions.c.seen_at), now)
        changed += _at_most(connection, leases, (leases.c.expires_at,), now + longest_lease)
        waits = outbox.c.state == OutboxState.PENDING, outbox.c.next_attempt_at > now
        changed += connection.execute(update(outbox).where(*waits).values(next_attempt_at=now)).rowcount
        changed += connection.execute(delete(flags).where(flags.c.name.startswith(WAIT))).rowcount
    return changed


def _at_most(connection: Connection, table: Table, columns: Sequence[Column[datetime]], latest: datetime) -> int:
    return sum(
        connection.execute(update(table).where(column > latest).values({column.name: latest})).rowcount
        for column in columns
    )


def remove_later_looks(tables: Tables, now: datetime) -> int:
    """Remove looks at the world that are dated later than `now`, which would stay the newest until then."""
    later = [(asset, key) for asset in MADE_AGAIN for key in _later(tables, asset, now)]
    for asset, key in later:
        tables.remove(asset, key)
    return len(later)


def _later(tables: Tables, asset: str, now: datetime) -> list[TableKey]:
    """Names that earlier versions gave (`~` and a hash) do not sort by time, and are passed over."""
    moment, keys = f"{now.astimezone(UTC):%Y%m%dT%H%M%S%f}", []
    for key in tables.newest_first(asset):
        if key.name.startswith("~"):
            continue
        if key.name.partition("-")[0] <= moment:
            break
        keys.append(key)
    return keys
