"""The outbox: what is to be told to the Challenge API, kept until it has been told.

Delivery is at least once and idempotent by challenge id at the receiver. A row is leased while its delivery is
under way (`next_attempt_at` moves ahead), so a killed delivery is tried again and two never run side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import UnknownChallenge
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import advance, pause_s
from loosh_pipeline.store.schema import outbox

BATCH = "response_batch"
LEASE_S = 300.0
"""Longer than one delivery with its handshake can take, all time limits used up."""
FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 900.0
LONGEST_RETRY_AFTER_S = 6 * 3600.0
"""A receiver may ask for patience, not for ever."""


class OutboxState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    PARKED = "parked"
    """Refused for good by the receiver: kept, with the reason, for the operator."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    id: int
    kind: str
    challenge_id: ChallengeId
    payload: bytes
    attempts: int


class Outbox:
    """Durable deliveries. Every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def enqueue(self, challenge_id: ChallengeId, payload: bytes, now: datetime, kind: str = BATCH) -> bool:
        """Keep a payload for delivery; False when this challenge's was kept before (the first one stands).

        Raises UnknownChallenge when no such challenge was accepted.
        """
        insert = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        row = insert(outbox).values(
            kind=kind,
            key=challenge_id,
            challenge_id=challenge_id,
            payload=payload,
            state=OutboxState.PENDING,
            attempts=0,
            created_at=now,
            next_attempt_at=now,
        )
        try:
            with self._engine.begin() as connection:
                return connection.execute(row.on_conflict_do_nothing()).rowcount == 1
        except IntegrityError as error:
            raise UnknownChallenge(f"no challenge {challenge_id!r} was accepted; nothing can be told of it") from error

    def lease(self, now: datetime, limit: int, challenge_id: ChallengeId | None = None) -> Sequence[OutboxRow]:
        """Take up to `limit` due rows for delivery, oldest first; nobody else gets them while the lease lasts."""
        is_due = (outbox.c.state == OutboxState.PENDING) & (outbox.c.next_attempt_at <= now)
        due = select(outbox.c.id).where(is_due)
        if challenge_id is not None:
            due = due.where(outbox.c.challenge_id == challenge_id)
        due = due.order_by(outbox.c.next_attempt_at, outbox.c.id).limit(limit).with_for_update(skip_locked=True)
        # For Postgres: a common table expression, as a subquery may be run again for every row, past the limit; and
        # the condition twice, as a lease that waited for another must look at its rows again.
        taken = due.cte("taken")
        lease = (
            update(outbox)
            .where(outbox.c.id.in_(select(taken.c.id)), is_due)
            .values(next_attempt_at=now + timedelta(seconds=LEASE_S), attempts=outbox.c.attempts + 1)
            .returning(outbox)
        )
        with self._engine.begin() as connection:
            rows = sorted(connection.execute(lease).all(), key=lambda r: (r.created_at, r.id))
        return [OutboxRow(r.id, r.kind, ChallengeId(r.challenge_id), r.payload, r.attempts) for r in rows]

    def delivered(self, row: OutboxRow, detail: str, now: datetime) -> None:
        """The receiver has it: the row and its challenge move on in one transaction."""
        with self._engine.begin() as connection:
            connection.execute(
                update(outbox)
                .where(outbox.c.id == row.id)
                .values(state=OutboxState.DELIVERED, delivered_at=now, detail=detail)
            )
            advance(connection, row.challenge_id, ChallengeState.SUBMITTED, now, submitted_at=now)

    def postpone(self, row: OutboxRow, detail: str, now: datetime, retry_after_s: float | None = None) -> datetime:
        """Try again later: twice as long each time, or when the receiver said. Returns when."""
        wait_s = pause_s(row.attempts, FIRST_RETRY_S, LONGEST_RETRY_S)
        again = now + timedelta(seconds=max(wait_s, min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)))
        self._change(row, next_attempt_at=again, detail=detail)
        return again

    def park(self, row: OutboxRow, detail: str) -> None:
        """Refused for good: keep it with the reason."""
        self._change(row, state=OutboxState.PARKED, detail=detail)

    def unpark(self, now: datetime) -> int:
        """Try every refused payload again; returns how many there were."""
        with self._engine.begin() as connection:
            changed = connection.execute(
                update(outbox)
                .where(outbox.c.state == OutboxState.PARKED)
                .values(state=OutboxState.PENDING, next_attempt_at=now, attempts=0)
            )
            return changed.rowcount

    def counts(self) -> Mapping[OutboxState, int]:
        query = select(outbox.c.state, func.count()).group_by(outbox.c.state)
        with reading(self._engine) as connection:
            found = {OutboxState(state): count for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in OutboxState}

    def has_due(self, now: datetime) -> bool:
        query = select(outbox.c.id).where(outbox.c.state == OutboxState.PENDING, outbox.c.next_attempt_at <= now)
        with reading(self._engine) as connection:
            return connection.execute(query.limit(1)).first() is not None

    def _change(self, row: OutboxRow, **values: Any) -> None:
        """What another attempt has settled since stays settled."""
        pending = update(outbox).where(outbox.c.id == row.id, outbox.c.state == OutboxState.PENDING)
        with self._engine.begin() as connection:
            connection.execute(pending.values(**values))
