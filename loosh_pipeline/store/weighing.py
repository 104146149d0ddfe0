"""What a weight proposal is made of, as it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

import polars as pl
from sqlalchemy import Engine, select

from loosh_pipeline.chain.records import FAILED
from loosh_pipeline.domain import Hotkey, NetworkView, Outcome, Proposal
from loosh_pipeline.errors import StoreError
from loosh_pipeline.policy.inputs import Earned, LastVector
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.frames import SOURCES, earned_of, network_view_of, proposal_of
from loosh_pipeline.store.schema import miners
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.wire.addresses import canonical_ip

MOST_ATTEMPTS = 1000
"""Submissions that are looked through for one that succeeded: weeks of nothing but failures."""


def newest_proposal(tables: Tables) -> Proposal | None:
    """What was last proposed to be set; None when nothing ever was."""
    newest = next(tables.newest_first("weight_proposals"), None)
    if newest is None:
        return None
    return proposal_of(tables.read("weight_proposals", newest), tables.read("policy_acts", newest))


def newest_earned(tables: Tables) -> Earned:
    """What `emissions` wrote last, with the sources it found; nothing before it ever ran.

    Raises StoreError when that was 1.3.0, whose emissions say too little to set weights by.
    """
    newest = next(tables.newest_first("emissions"), None)
    return Earned() if newest is None else earned_at(tables, newest)


def earned_at(tables: Tables, key: TableKey) -> Earned:
    """What a run of `emissions` wrote. Raises StoreError like `newest_earned`, and when it is not there."""
    found = tables.read("sources", key) if tables.exists("sources", key) else pl.DataFrame(schema=SOURCES)
    frame = tables.read("emissions", key)
    if "rounds" not in frame.columns:
        raise StoreError(f"the newest emissions ({key.name}) are of release 1.3.0; materialize emissions first")
    return replace(earned_of(frame, found), table=f"{key.day}/{key.name}")


def last_vector(tables: Tables, own_since: datetime | None = None) -> LastVector | None:
    """The weights that the chain took last, and what they rested on; None when it never took any.

    Where own rounds do not stand behind them, `own_since` says how far back those are looked for of which they do.
    """
    taken = _taken(tables)
    found = next(taken, None)
    if found is None:
        return None
    last = _vector(tables, *found)
    if last.own_at is not None or own_since is None:
        return last
    for submitted, rows in taken:
        before = _vector(tables, submitted, rows)
        if before.set_at <= own_since:
            break
        if before.own_at is not None:
            return replace(last, own_before=before.own_at)
    return last


def _vector(tables: Tables, submitted: TableKey, rows: pl.DataFrame) -> LastVector:
    shares = {Hotkey(hotkey): weight for hotkey, weight in rows.select("hotkey", "weight").iter_rows()}
    key = proposal_behind(tables, submitted)
    about = None if key is None else tables.read("weight_proposals", key)
    if about is None or about.is_empty():
        return LastVector(rows["submitted_at"][0], shares)
    return LastVector(rows["submitted_at"][0], shares, rounds=about["rounds"][0], basis=about["basis"][0])


def proposal_behind(tables: Tables, submitted: TableKey) -> TableKey | None:
    """The newest proposal that was there when weights were submitted; `submitted`: their table."""
    for key in tables.newest_first("weight_proposals", submitted.day):
        if key.name <= submitted.name:
            return key
    return None


def last_set(tables: Tables, most: int | None = MOST_ATTEMPTS) -> tuple[TableKey, pl.DataFrame] | None:
    """The newest `weights` table that says that the chain took them, and where it lies; looks through `most`."""
    return next(_taken(tables, most), None)


def _taken(tables: Tables, most: int | None = MOST_ATTEMPTS) -> Iterator[tuple[TableKey, pl.DataFrame]]:
    """All of those, the newest first."""
    for key in islice(tables.newest_first("weights"), most):
        rows = tables.read("weights", key)
        if not rows.is_empty() and rows["success"][0] and not _failed_later(rows):
            yield key, rows


def _failed_later(rows: pl.DataFrame) -> bool:
    """Whether the chain turned out not to hold what it took; 1.3.0 did not follow weights that far."""
    return "state" in rows.columns and rows["state"][0] in FAILED


def ever_answered(engine: Engine) -> frozenset[Hotkey]:
    """Miners that ever answered a challenge."""
    query = select(miners.c.hotkey).where(miners.c.answered > 0)
    with reading(engine) as connection:
        return frozenset(map(Hotkey, connection.execute(query).scalars()))


def answered_at(engine: Engine) -> dict[Hotkey, str]:
    """The address, in canonical form, of each miner that answered when it was asked last."""
    query = select(miners.c.hotkey, miners.c.ip).where(miners.c.last_outcome == Outcome.ANSWERED)
    with reading(engine) as connection:
        found = {Hotkey(hotkey): canonical_ip(ip) for hotkey, ip in connection.execute(query)}
    return {hotkey: ip for hotkey, ip in found.items() if ip is not None}


def view_at(tables: Tables, at: datetime) -> NetworkView | None:
    """What the Challenge API had last said at a time; None when it had said nothing yet.

    Names that earlier versions gave (`~` and a hash) do not sort by time, and are passed over.
    """
    moment = at.astimezone(UTC)
    for key in tables.newest_first("network_view", moment.date()):
        if not key.name.startswith("~") and key.name.partition("-")[0] <= f"{moment:%Y%m%dT%H%M%S%f}":
            return network_view_of(tables.read("network_view", key))
    return None
