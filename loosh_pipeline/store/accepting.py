"""Accepting challenges, each as the next link of one chain; `acceptances` reads it.

    link n = sha256 over [link n-1, n, id, time of receipt, sha256 of the request, commitment to what it is]

Whoever accepts holds the one lock of those who do until it has committed: SQLite's own, or an advisory one of Postgres.
So links have one order, and a transaction that dies leaves none. Links begin with the first challenge that is accepted
after an upgrade; what came before has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, text

from loosh_pipeline.audit.acceptances import BEFORE_ALL, Link, next_link
from loosh_pipeline.audit.canonical import commitment_of, request_digest
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.store.schema import challenges

ACCEPTING_LOCK_ID = 7_802_027
"""Key of the advisory lock under which one transaction at a time accepts challenges in a Postgres database."""
LOCK_WITHIN_S, IDLE_WITHIN_S = 5, 3
"""How long who accepts waits for another, and may itself stand still, in a Postgres database: less than the ingress
makes its senders wait, so that one process that hangs holds up the others for seconds, and who waits outlasts it.
"""
OF_ARRIVAL = {
    **{"id": "column1", "request": "column2", "seq": "column4", "request_sha256": "column5", "commitment": "column6"},
    **{"salt": "column7", "link": "column8"},
}
TIMES = ("received_at", "state_changed_at", "next_run_at")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A challenge that is to be accepted, with what its link is made of: made before anybody waits for a lock.

    `commitment`: by `salt`, to its being pushed or a canary.
    """

    id: ChallengeId
    request: Mapping[str, Any]
    received_at: datetime
    request_sha256: str
    commitment: str
    salt: str

    @classmethod
    def of(
        cls, challenge_id: ChallengeId, request: Mapping[str, Any], received_at: datetime, known: str = ""
    ) -> Candidate:
        """`known`: what stands for a canary's question and answers; empty for what was pushed.

        Raises TypeError or ValueError for a request that is no JSON.
        """
        salt = new_salt()
        return cls(challenge_id, request, received_at, request_digest(request), commitment_of(salt, known), salt)


def new_salt() -> str:
    """What hides a commitment until it is told."""
    return token_hex(16)


@contextmanager
def accepting(engine: Engine) -> Iterator[Connection]:
    """A transaction for `accept`.

    On Postgres each statement sees what was committed before it, whatever the server's default is: the end of the chain
    is read after the lock was waited for. And whoever does not go on is thrown out by the server.
    """
    if engine.dialect.name == "sqlite":
        with engine.begin() as connection:
            yield connection
        return
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection, connection.begin():
        connection.exec_driver_sql(
            f"SET LOCAL lock_timeout = {LOCK_WITHIN_S * 1000:.0f}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_WITHIN_S * 1000:.0f}"
        )
        yield connection


def accept(connection: Connection, candidates: Sequence[Candidate]) -> Mapping[ChallengeId, Link]:
    """Accept, in a transaction that is open, those whose ids are new, in order; returns their links.

    Ids differ from each other. Nobody else accepts until the transaction ends.
    """
    if not candidates:
        return {}
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ACCEPTING_LOCK_ID})
    known, last = _there(connection, [each.id for each in candidates])
    new = [each for each in candidates if each.id not in known]
    if not new:
        return {}
    links = list(_links(last, new))
    if connection.dialect.name == "sqlite":
        values = tuple(_values(connection.dialect, new, links))
        connection.exec_driver_sql(_insertion(len(new)), values)
    else:
        rows = [_row(each, link) for each, link in zip(new, links, strict=True)]
        connection.execute(challenges.insert(), rows)
    return {each.id: link for each, link in zip(new, links, strict=True)}


def _there(connection: Connection, ids: Sequence[ChallengeId]) -> tuple[Collection[str], Link]:
    """Those of the ids that are kept already, and the end of the chain."""
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    rows = connection.exec_driver_sql(_looking(len(ids), mark), tuple(ids)).all()
    last = BEFORE_ALL
    for _, seq, link in rows:
        last = last if seq is None else Link(int(seq), link)
    return {name for name, seq, _ in rows if seq is None}, last


@lru_cache(maxsize=256)
def _looking(ids: int, mark: str) -> str:
    """One statement for both questions, as text: each statement costs more than what it looks up."""
    none = "CAST(NULL AS BIGINT), CAST(NULL AS VARCHAR(64))"
    last = "SELECT id, seq, link FROM challenges WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1"
    listed = ", ".join([mark] * ids)
    return f"SELECT id, {none} FROM challenges WHERE id IN ({listed}) UNION ALL SELECT * FROM ({last}) AS last_one"


def _links(before: Link, new: Sequence[Candidate]) -> Iterator[Link]:
    for each in new:
        before = next_link(before, each.id, each.received_at, each.request_sha256, each.commitment)
        yield before


def new_row(challenge_id: ChallengeId, request: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The row of a challenge that was just received, without its link."""
    return {
        "id": challenge_id,
        "request": request,
        "state": ChallengeState.RECEIVED,
        "received_at": now,
        "state_changed_at": now,
        "next_run_at": now,
        "attempts": 0,
        "asked": 0,
        "answered": 0,
        "elapsed_ms_sum": 0.0,
    }


def _row(candidate: Candidate, link: Link) -> dict[str, Any]:
    committed = {"commitment": candidate.commitment, "salt": candidate.salt}
    of_chain = {"seq": link.seq, "request_sha256": candidate.request_sha256, **committed, "link": link.digest}
    return new_row(candidate.id, candidate.request, candidate.received_at) | of_chain


@lru_cache(maxsize=256)
def _insertion(rows: int) -> str:
    """Inserts what `_row` says, of which only a few differ from row to row, for SQLite: in one statement, as after each
    the thread waits for Python's lock, which the event loop keeps busy.
    """
    template = _row(Candidate(ChallengeId(""), {}, datetime.now(UTC), "", "", ""), BEFORE_ALL)
    given = OF_ARRIVAL | dict.fromkeys(TIMES, "column3")
    values = (
        given.get(name) or (f"'{value}'" if isinstance(value, str) else str(value)) for name, value in template.items()
    )
    lines = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return f"INSERT INTO challenges ({', '.join(template)}) SELECT {', '.join(values)} FROM (VALUES {lines})"


def _values(dialect: Dialect, new: Sequence[Candidate], links: Sequence[Link]) -> Iterator[Any]:
    """Of each what differs, as the columns hand it to the driver."""
    request = challenges.c.request.type.dialect_impl(dialect).bind_processor(dialect)
    time = challenges.c.received_at.type.dialect_impl(dialect).bind_processor(dialect)
    assert request is not None
    assert time is not None
    for each, link in zip(new, links, strict=True):
        yield each.id
        yield request(each.request)
        yield time(each.received_at)
        yield link.seq
        yield each.request_sha256
        yield each.commitment
        yield each.salt
        yield link.digest
