"""What a weight proposal is made of, as it is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import polars as pl
from sqlalchemy import Engine, select

from loosh_pipeline.domain import Hotkey, NetworkView
from loosh_pipeline.policy.inputs import Earned, LastVector
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.frames import SOURCES, earned_of, network_view_of
from loosh_pipeline.store.schema import miners
from loosh_pipeline.store.tables import TableKey, Tables

MOST_ATTEMPTS = 1000
"""Submissions that are looked through for one that succeeded: weeks of nothing but failures."""


def newest_earned(tables: Tables) -> Earned:
    """What `emissions` wrote last, with the sources it found; nothing before it ever ran."""
    newest = next(tables.newest_first("emissions"), None)
    if newest is None:
        return Earned()
    found = tables.read("sources", newest) if tables.exists("sources", newest) else pl.DataFrame(schema=SOURCES)
    return earned_of(tables.read("emissions", newest), found)


def last_vector(tables: Tables) -> LastVector | None:
    """The weights that the chain took last; None when it never took any."""
    found = last_set(tables)
    if found is None:
        return None
    _, rows = found
    shares = {Hotkey(hotkey): weight for hotkey, weight in rows.select("hotkey", "weight").iter_rows()}
    return LastVector(rows["submitted_at"][0], shares)


def last_set(tables: Tables) -> tuple[TableKey, pl.DataFrame] | None:
    """The newest `weights` table that says that the chain took them, and where it lies."""
    for key in islice(tables.newest_first("weights"), MOST_ATTEMPTS):
        rows = tables.read("weights", key)
        if not rows.is_empty() and rows["success"][0]:
            return key, rows
    return None


def ever_answered(engine: Engine) -> frozenset[Hotkey]:
    """Miners that ever answered a challenge."""
    query = select(miners.c.hotkey).where(miners.c.answered > 0)
    with reading(engine) as connection:
        return frozenset(map(Hotkey, connection.execute(query).scalars()))


def view_at(tables: Tables, at: datetime) -> NetworkView | None:
    """What the Challenge API had last said at a time; None when it had said nothing yet.

    Names that earlier versions gave (`~` and a hash) do not sort by time, and are passed over.
    """
    moment = at.astimezone(UTC)
    for key in tables.newest_first("network_view", moment.date()):
        if not key.name.startswith("~") and key.name.partition("-")[0] <= f"{moment:%Y%m%dT%H%M%S%f}":
            return network_view_of(tables.read("network_view", key))
    return None
