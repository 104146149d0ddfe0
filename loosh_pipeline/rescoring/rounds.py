"""Stored rounds as they are scored again: the tables of a challenge, and what its request says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from heapq import merge
from itertools import groupby
from typing import NamedTuple

import polars as pl

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.inbox import Inbox, InboxRow
from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.store.tables import TableKey, Tables

RESPONSES = "miner_responses"
VECTORS = "embeddings"
READ_FROM = (RESPONSES, VECTORS, SCORES)
AT_ONCE = 32
"""Rounds that are looked up in the inbox, handed to a process and kept together: some 3 MB."""


@dataclass(frozen=True, eq=False)
class StoredRound:
    """One challenge to be scored again, as tables, so that it travels between processes as it was stored."""

    id: ChallengeId
    received_at: datetime
    prompt: str
    responses: pl.DataFrame
    vectors: pl.DataFrame

    @property
    def key(self) -> TableKey:
        return TableKey.of(self.id, self.received_at)


@dataclass(frozen=True, slots=True)
class Unscorable:
    """A challenge that cannot be scored again, and why. `name`: its id, or its tables' name where nobody knows that."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Found:
    """A challenge to be scored, with the scores that it has: one table for each scorer version."""

    round: StoredRound
    scores: tuple[pl.DataFrame, ...]


UNKNOWN = "no such challenge was accepted"


class _Read(NamedTuple):
    """A table of a day, or why it cannot be read. `order` sorts as the files do, of which each is one."""

    order: str
    asset: str
    key: TableKey
    content: pl.DataFrame | StoreError


Reads = Mapping[str, Sequence[_Read]]
"""The tables of a challenge by asset."""


def of_day(tables: Tables, inbox: Inbox, day: date) -> Iterator[list[Found | Unscorable]]:
    """Everything that is stored of a day's challenges, some at once."""
    streams = [_tables(tables, asset, day) for asset in READ_FROM]
    batch: list[Reads] = []
    for _, reads in groupby(merge(*streams, key=_order_of), key=_order_of):
        batch.append(_by_asset(reads))
        if len(batch) == AT_ONCE:
            yield _named(inbox, batch)
            batch = []
    if batch:
        yield _named(inbox, batch)


def of_challenges(tables: Tables, inbox: Inbox, ids: Sequence[str]) -> Iterator[list[Found | Unscorable]]:
    """The same for single challenges."""
    for start in range(0, len(ids), AT_ONCE):
        wanted = ids[start : start + AT_ONCE]
        rows = {row.id: row for row in inbox.get_many(wanted)}
        keys = {row.id: TableKey.of(row.id, row.received_at) for row in rows.values()}
        versions = _versions(tables, list(keys.values()))
        known = [_found(name, _stored(tables, key, versions[key]), rows) for name, key in keys.items()]
        yield [*known, *(Unscorable(name, UNKNOWN) for name in wanted if name not in rows)]


def _order_of(read: _Read) -> str:
    return read.order


def _by_asset(reads: Iterable[_Read]) -> Reads:
    found: dict[str, list[_Read]] = {}
    for each in reads:
        found.setdefault(each.asset, []).append(each)
    return found


def _versions(tables: Tables, keys: Sequence[TableKey]) -> Mapping[TableKey, Sequence[TableKey]]:
    """The keys of the scores of some rounds; each day is listed once."""
    found: dict[TableKey, list[TableKey]] = {key: [] for key in keys}
    for day in {key.day for key in keys}:
        for file in tables.files(SCORES, day):
            of = TableKey.named(day, file.name)
            if (versions := found.get(TableKey(day, of.name))) is not None:
                versions.append(of)
    return found


def _stored(tables: Tables, key: TableKey, versions: Sequence[TableKey]) -> Reads:
    reads = {asset: [_read(tables, asset, key)] for asset in (RESPONSES, VECTORS) if tables.exists(asset, key)}
    return {**reads, SCORES: [_read(tables, SCORES, each) for each in versions]}


def _tables(tables: Tables, asset: str, day: date) -> Iterator[_Read]:
    """The tables of a day in order. One that cannot be read ends the quick way; the others are read one by one."""
    last = ""
    try:
        for key, frame in tables.each(asset, day):
            yield _Read(_order(key), asset, key, frame)
            last = key.file
    except StoreError:
        left = (file.name for file in tables.files(asset, day) if file.name > last)
        for name in sorted(left):
            yield _read(tables, asset, TableKey.named(day, name))


def _order(key: TableKey) -> str:
    """As the files sort: in their names a dot follows, which comes after a dash."""
    return f"{key.name}."


def _read(tables: Tables, asset: str, key: TableKey) -> _Read:
    try:
        return _Read(_order(key), asset, key, tables.read(asset, key))
    except StoreError as error:
        return _Read(_order(key), asset, key, error)


def _named(inbox: Inbox, batch: Sequence[Reads]) -> list[Found | Unscorable]:
    """With their requests. A table whose challenge nobody can tell goes by its name, which may be it."""
    names = [_challenge_id(each) for each in batch]
    rows = {row.id: row for row in inbox.get_many(names)}
    return [_found(name, each, rows) for name, each in zip(names, batch, strict=True)]


def _found(name: str, reads: Reads, rows: Mapping[ChallengeId, InboxRow]) -> Found | Unscorable:
    frames: dict[str, pl.DataFrame] = {}
    for asset in (RESPONSES, VECTORS):
        if not (of := reads.get(asset)):
            return Unscorable(name, f"no table {asset}")
        if isinstance(content := of[0].content, StoreError):
            return Unscorable(name, str(content))
        frames[asset] = content
    if (row := rows.get(ChallengeId(name))) is None:
        return Unscorable(name, UNKNOWN)
    try:
        prompt = row.challenge().prompt
    except ValueError as error:
        return Unscorable(name, f"its request cannot be read: {error}")
    stored = StoredRound(row.id, row.received_at, prompt, frames[RESPONSES], frames[VECTORS])
    scores = (each.content for each in reads.get(SCORES, ()))
    return Found(stored, tuple(each for each in scores if isinstance(each, pl.DataFrame) and not each.is_empty()))


def _challenge_id(reads: Reads) -> str:
    """The challenge's id, which a table's name need not be, from the first row that says it."""
    tables = [each for of in reads.values() for each in of]
    for content in (each.content for each in tables):
        if isinstance(content, pl.DataFrame) and content.height and "challenge_id" in content.columns:
            return str(content["challenge_id"][0])
    return tables[0].key.name
