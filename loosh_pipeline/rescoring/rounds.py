"""Stored rounds as they are scored again: the tables of a challenge, and what its request says."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from heapq import merge
from itertools import groupby
from typing import Any, NamedTuple

import polars as pl

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.canaries import Canaries
from loosh_pipeline.store.inbox import Inbox, InboxRow
from loosh_pipeline.store.score_tables import CANARY_SCORES, SCORES
from loosh_pipeline.store.tables import TableKey, Tables

RESPONSES = "miner_responses"
VECTORS = "embeddings"
INPUTS = (RESPONSES, VECTORS)
OF_SCORES = SCORES, CANARY_SCORES
READ_FROM = (*INPUTS, *OF_SCORES)
AT_ONCE = 32
"""Rounds that are looked up in the inbox, handed to a process and kept together: some 3 MB."""


@dataclass(frozen=True, eq=False)
class StoredRound:
    """One challenge to be scored again, as tables, so that it travels between processes as it was stored."""

    id: ChallengeId
    received_at: datetime
    request: Mapping[str, Any]
    prompt: str
    responses: pl.DataFrame
    vectors: pl.DataFrame

    @property
    def key(self) -> TableKey:
        return TableKey.of(self.id, self.received_at)


@dataclass(frozen=True, slots=True)
class Unscorable:
    """A challenge that cannot be scored again, and why. `name`: its id, or its tables' name where nobody knows that.

    `kind`: the reason without what is of this challenge alone, by which many are counted; empty where that is all.
    """

    name: str
    reason: str
    kind: str = ""


@dataclass(frozen=True, eq=False)
class Found:
    """A challenge to be scored, with the scores that it has: one table for each scorer version.

    `unreadable`: why nobody can tell all of them; empty where they are all there are. `canary`: whether it is one, by
    its mark or by where its scores lie; then it never pays.
    """

    round: StoredRound
    scores: tuple[pl.DataFrame, ...]
    unreadable: str = ""
    canary: bool = False


UNKNOWN = "no such challenge was accepted"
UNREADABLE, LOST = "a table that cannot be read", "a part of tables that cannot be read"
GONE, FAILED, WAITING = "its tables are gone", "it failed, and was never scored", "it is not scored yet"


class _Read(NamedTuple):
    """A table of a day, or why it cannot be read. `order` sorts as the files do, of which each is one."""

    order: str
    asset: str
    key: TableKey
    content: pl.DataFrame | StoreError


class _Asked(NamedTuple):
    """What the inbox says of some challenges, and which of them it has marked as canaries."""

    rows: Mapping[ChallengeId, InboxRow]
    canaries: Set[ChallengeId]


Reads = Mapping[str, Sequence[_Read]]
"""The tables of a challenge by asset."""
Broken = Mapping[str, list[StoreError]]
"""By asset, why parts of the day cannot be opened: what lies in them is missing from what is read."""


def of_day(tables: Tables, inbox: Inbox, day: date) -> Generator[list[Found | Unscorable]]:
    """Everything that is stored of a day's challenges, some at once; then those that came then and have no tables."""
    broken: Broken = {asset: [] for asset in READ_FROM}
    streams = [_tables(tables, asset, day, broken[asset]) for asset in READ_FROM]
    seen: set[str] = set()
    batch: list[Reads] = []
    for order, reads in groupby(merge(*streams, key=_order_of), key=_order_of):
        seen.add(order)
        batch.append(_by_asset(reads))
        if len(batch) == AT_ONCE:
            yield _named(inbox, batch, broken)
            batch = []
    if batch:
        yield _named(inbox, batch, broken)
    yield from _without_tables(inbox, day, seen, broken)


def _without_tables(inbox: Inbox, day: date, seen: Set[str], broken: Broken) -> Iterator[list[Found | Unscorable]]:
    start = datetime.combine(day, time(), UTC)
    came = inbox.received_between(start, start + timedelta(days=1))
    missing = [each for each in came if _order(TableKey.of(each, start)) not in seen]
    for at in range(0, len(missing), AT_ONCE):
        states = inbox.states(missing[at : at + AT_ONCE])
        yield [_absent(name, ChallengeState(state), broken) for name, state in states.items()]


def _absent(name: str, state: ChallengeState, broken: Broken) -> Unscorable:
    if state is ChallengeState.FAILED:
        return Unscorable(name, FAILED)
    if state not in (ChallengeState.SCORED, ChallengeState.SUBMITTED):
        return Unscorable(name, WAITING)
    return _missing(name, RESPONSES, broken) if broken[RESPONSES] else Unscorable(name, GONE)


def _missing(name: str, asset: str, broken: Broken) -> Unscorable:
    """Without a table of an asset, which may lie where nobody can read it."""
    if not (parts := broken[asset]):
        return Unscorable(name, f"no table {asset}")
    return Unscorable(name, f"no table {asset} can be read: {parts[0]}", LOST)


def of_challenges(
    tables: Tables, inbox: Inbox, ids: Sequence[str], *, with_scores: bool = True
) -> Generator[list[Found | Unscorable]]:
    """The same for single challenges. `with_scores`: whether the scores that they have are read too."""
    for start in range(0, len(ids), AT_ONCE):
        wanted = ids[start : start + AT_ONCE]
        rows = {row.id: row for row in inbox.get_many(wanted)}
        keys = {row.id: TableKey.of(row.id, row.received_at) for row in rows.values()}
        versions = _Versions(tables) if with_scores else None
        asked = _Asked(rows, Canaries(inbox.engine).among(rows))
        known = [_one(tables, name, key, asked, versions) for name, key in keys.items()]
        yield [*known, *(Unscorable(name, UNKNOWN) for name in wanted if name not in rows)]


def _one(tables: Tables, name: str, key: TableKey, asked: _Asked, versions: _Versions | None) -> Found | Unscorable:
    try:
        reads = {asset: [_read(tables, asset, key)] for asset in INPUTS if tables.exists(asset, key)}
    except StoreError as error:
        return Unscorable(name, str(error), LOST)
    found, broken = ((), []) if versions is None else versions.of(key)
    scores = {asset: [_read(tables, asset, each) for of, each in found if of == asset] for asset in OF_SCORES}
    none: Broken = {asset: [] for asset in READ_FROM}
    return _found(name, {**reads, **scores}, asked, {**none, **dict.fromkeys(OF_SCORES, broken)})


class _Versions:
    """The keys of the scores of some rounds; each day is listed once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._days: dict[date, tuple[dict[str, list[tuple[str, TableKey]]], list[StoreError]]] = {}

    def of(self, key: TableKey) -> tuple[Sequence[tuple[str, TableKey]], list[StoreError]]:
        """Of a round, with the asset that each is of, and why nobody can tell all of them."""
        if key.day not in self._days:
            self._days[key.day] = self._listed(key.day)
        found, broken = self._days[key.day]
        return found.get(key.name, ()), broken

    def _listed(self, day: date) -> tuple[dict[str, list[tuple[str, TableKey]]], list[StoreError]]:
        found: dict[str, list[tuple[str, TableKey]]] = {}
        try:
            for asset in OF_SCORES:
                for file in self._tables.files(asset, day):
                    key = TableKey.named(day, file.name)
                    found.setdefault(key.name, []).append((asset, key))
        except StoreError as error:
            return {}, [error]
        return found, []


def _order_of(read: _Read) -> str:
    return read.order


def _by_asset(reads: Iterable[_Read]) -> Reads:
    found: dict[str, list[_Read]] = {}
    for each in reads:
        found.setdefault(each.asset, []).append(each)
    return found


def _tables(tables: Tables, asset: str, day: date, broken: list[StoreError]) -> Iterator[_Read]:
    """The tables of a day in order."""
    for key, content in tables.each_or_why(asset, day, broken):
        yield _Read(_order(key), asset, key, content)


def _order(key: TableKey) -> str:
    """As the files sort: in their names a dot follows, which comes after a dash."""
    return f"{key.name}."


def _read(tables: Tables, asset: str, key: TableKey) -> _Read:
    try:
        return _Read(_order(key), asset, key, tables.read(asset, key))
    except StoreError as error:
        return _Read(_order(key), asset, key, error)


def _named(inbox: Inbox, batch: Sequence[Reads], broken: Broken) -> list[Found | Unscorable]:
    """With their requests. A table whose challenge nobody can tell goes by its name, which may be it."""
    names = [_challenge_id(each) for each in batch]
    rows = {row.id: row for row in inbox.get_many(names)}
    asked = _Asked(rows, Canaries(inbox.engine).among(rows))
    return [_found(name, each, asked, broken) for name, each in zip(names, batch, strict=True)]


def _found(name: str, reads: Reads, asked: _Asked, broken: Broken) -> Found | Unscorable:
    frames: dict[str, pl.DataFrame] = {}
    for asset in INPUTS:
        if not (of := reads.get(asset)):
            return _missing(name, asset, broken)
        if isinstance(content := of[0].content, StoreError):
            return Unscorable(name, str(content), UNREADABLE)
        frames[asset] = content
    if (row := asked.rows.get(ChallengeId(name))) is None:
        return Unscorable(name, UNKNOWN)
    try:
        prompt = row.challenge().prompt
    except ValueError as error:
        return Unscorable(name, f"its request cannot be read: {error}", "its request cannot be read")
    stored = StoredRound(row.id, row.received_at, row.request, prompt, frames[RESPONSES], frames[VECTORS])
    canary = row.id in asked.canaries or bool(reads.get(CANARY_SCORES))
    asset = CANARY_SCORES if canary else SCORES
    contents = [each.content for each in reads.get(asset, ())]
    scores = (each for each in contents if isinstance(each, pl.DataFrame) and not each.is_empty())
    wrong = [*(each for each in contents if isinstance(each, StoreError)), *broken[asset]]
    return Found(stored, tuple(scores), str(wrong[0]) if wrong else "", canary)


def _challenge_id(reads: Reads) -> str:
    """The challenge's id, which a table's name need not be, from the first row that says it."""
    tables = [each for of in reads.values() for each in of]
    for content in (each.content for each in tables):
        if isinstance(content, pl.DataFrame) and content.height and "challenge_id" in content.columns:
            return str(content["challenge_id"][0])
    return tables[0].key.name
