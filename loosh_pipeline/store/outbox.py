"""The outbox: what is to be told to the Challenge API, kept until it has been told.

Delivery is at least once and idempotent by challenge id at the receiver. A row is leased while its delivery is
under way (`next_attempt_at` moves ahead), so a killed delivery is tried again and two never run side by side.
A result is kept in the same transaction that marks its challenge scored, or gives it up; a report takes the place of
earlier ones that wait.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Case, ColumnElement, Connection, Engine, and_, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from loosh_pipeline.domain import RESULTS, ChallengeId, DeliveryKind
from loosh_pipeline.errors import UnknownChallenge
from loosh_pipeline.store.canaries import is_canary
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.flags import set_flag
from loosh_pipeline.store.inbox import advance_to_scored, advance_to_submitted, pause_s
from loosh_pipeline.store.schema import flags, outbox

LEASE_S = 300.0
"""Longer than one delivery with its handshake can take, all time limits used up."""
FIRST_RETRY_S = 2.0
LONGEST_RETRY_S = 900.0
JITTER = 0.5
"""The part of a pause that chance decides: an API that comes back is not asked by every validator at once."""
LONGEST_RETRY_AFTER_S = 6 * 3600.0
"""A receiver may ask for patience, not for ever."""
MOST_HEATMAPS = 500
"""Pictures that wait, and as many that were refused."""
KEPT = timedelta(days=7)
"""How long the payload of a delivered result stays, and the row of a delivered report."""
WAIT = "wait "
"""Begins the name of the flag that says until when a kind is not to be told."""
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
FORGOTTEN_AT_ONCE = 500


class OutboxState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    PARKED = "parked"
    """Refused for good by the receiver: kept, with the reason, for the operator."""


UNDELIVERED = (OutboxState.PENDING, OutboxState.PARKED)
"""Named one by one, for the index."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A delivery that is under way. `challenge_id` is None for a report, which concerns no single challenge."""

    id: int
    kind: DeliveryKind
    key: str
    challenge_id: ChallengeId | None
    payload: bytes
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """A delivery that was refused for good, and what the receiver said."""

    kind: DeliveryKind
    key: str
    detail: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that did not succeed yet: what was said to the last attempt (empty while the first is under way)."""

    kind: DeliveryKind
    key: str
    detail: str
    attempts: int
    next_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class ResultTold:
    """How telling the result of a challenge stands; `detail`: what was said to the last attempt."""

    state: OutboxState
    attempts: int
    detail: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Deliveries of one kind and state: how many, and since when there is the oldest."""

    count: int
    oldest_at: datetime


class Outbox:
    """Durable deliveries. Every method is one short transaction. `jitter` gives numbers from 0 to 1."""

    def __init__(self, engine: Engine, jitter: Callable[[], float] = random.random) -> None:
        self._engine = engine
        self._jitter = jitter

    def keep_result(
        self,
        challenge_id: ChallengeId,
        payload: bytes,
        now: datetime,
        kind: DeliveryKind = DeliveryKind.RESPONSE_BATCH,
        *,
        to_present: bool = False,
    ) -> bool:
        """Keep what is told of a challenge and mark it scored, both or neither. `to_present`: see `Presenting`.

        False when its result was kept before, in whichever form: the first one stands, also an empty one of a
        challenge that had been given up. Raises UnknownChallenge when no such challenge was accepted.
        Of a canary nothing is kept; it is done once it has scores.
        """
        with _known(challenge_id), self._engine.begin() as connection:
            if is_canary(connection, challenge_id):
                advance_to_scored(connection, challenge_id, now)
                advance_to_submitted(connection, challenge_id, now, now)
                return False
            new = keep_first_result(connection, challenge_id, payload, now, kind)
            advance_to_scored(connection, challenge_id, now, to_present_since=now if to_present else None)
            told_at = connection.execute(
                select(outbox.c.delivered_at).where(outbox.c.key == challenge_id, outbox.c.kind.in_(RESULTS))
            ).scalar_one()
            if told_at is not None:
                advance_to_submitted(connection, challenge_id, now, told_at)
            return new

    def keep_heatmap(self, challenge_id: ChallengeId, payload: bytes, now: datetime) -> bool:
        """Keep the picture of a challenge for delivery; False when one was kept before, and of a canary.

        Raises UnknownChallenge.

        While pictures cannot be delivered, the oldest make room: they are large, and can be drawn again. Those that
        wait take none from those that were refused.
        """
        with _known(challenge_id), self._engine.begin() as connection:
            if is_canary(connection, challenge_id):
                return False
            new = _insert(connection, DeliveryKind.HEATMAP, challenge_id, payload, now, challenge_id)
            for state in UNDELIVERED:
                _forget_older(connection, DeliveryKind.HEATMAP, state, MOST_HEATMAPS)
            return new

    def keep_reports(self, kind: DeliveryKind, reports: Mapping[str, bytes], now: datetime) -> int:
        """Keep reports, by what makes each one, in place of earlier ones of their kind that wait.

        So nothing piles up while the receiver is away. Of those it refused for good the newest stays, for the
        operator to see why. Returns how many are new: one whose key was kept before is not told again.
        """
        with self._engine.begin() as connection:
            _forget_older(connection, kind, OutboxState.PENDING, 0, reports)
            _forget_older(connection, kind, OutboxState.PARKED, 1, reports)
            return sum(_insert(connection, kind, key, payload, now) for key, payload in reports.items())

    def lease(self, now: datetime, limit: int, challenge_id: ChallengeId | None = None) -> Sequence[OutboxRow]:
        """Take up to `limit` due rows for delivery, or the result of one challenge; nobody else gets them meanwhile.

        Results come first, so that neither pictures nor reports delay them; then what was tried least, so that what
        never gets through delays nothing fresh; then the oldest.
        """
        with self._engine.begin() as connection:
            is_due = _is_due(connection, now)
            due = select(outbox.c.id).where(is_due)
            if challenge_id is not None:
                due = due.where(outbox.c.key == challenge_id, outbox.c.kind.in_(RESULTS))
            due = due.order_by(_rank(), outbox.c.attempts, outbox.c.next_attempt_at, outbox.c.id).limit(limit)
            # For Postgres: a common table expression, as a subquery may be run again for every row, past the limit;
            # and the condition twice, as a lease that waited for another must look at its rows again.
            taken = due.with_for_update(skip_locked=True).cte("taken")
            lease = (
                update(outbox)
                .where(outbox.c.id.in_(select(taken.c.id)), is_due)
                .values(next_attempt_at=now + timedelta(seconds=LEASE_S), attempts=outbox.c.attempts + 1)
                .returning(outbox)
            )
            leased = connection.execute(lease).all()
        leased = sorted(leased, key=lambda r: (r.kind not in RESULTS, r.attempts, r.created_at, r.id))
        return [
            OutboxRow(r.id, DeliveryKind(r.kind), r.key, r.challenge_id, r.payload, r.attempts, r.created_at)
            for r in leased
        ]

    def delivered(self, row: OutboxRow, detail: str, now: datetime) -> None:
        """The receiver has it: the row and, if this was its result, its scored challenge move on in one transaction.

        The payload of a result stays for a while; pictures and reports can be made again from what is stored.
        """
        change: dict[str, Any] = {"state": OutboxState.DELIVERED, "delivered_at": now, "detail": detail}
        if row.kind not in RESULTS:
            change["payload"] = b""
        change["next_attempt_at"] = NEVER if row.kind is DeliveryKind.HEATMAP else now + KEPT
        with self._engine.begin() as connection:
            connection.execute(update(outbox).where(_is(row)).values(change))
            if row.kind in RESULTS and row.challenge_id is not None:
                advance_to_submitted(connection, row.challenge_id, now, now)

    def postpone(self, row: OutboxRow, detail: str, now: datetime, retry_after_s: float | None = None) -> datetime:
        """Try again later: about twice as long each time, or when the receiver said. Returns when.

        Who is asked to wait waits with everything of that kind, also with what is yet to come, and as long as anybody
        was asked to.
        """
        wait_s = pause_s(row.attempts, FIRST_RETRY_S, LONGEST_RETRY_S) * (1 - JITTER * self._jitter())
        asked_s = min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
        again = now + timedelta(seconds=max(wait_s, asked_s))
        pending = update(outbox).where(_is(row), outbox.c.state == OutboxState.PENDING)
        with self._engine.begin() as connection:
            if asked_s > 0:
                _hold(connection, row.kind, now + timedelta(seconds=asked_s), now)
            connection.execute(pending.values(next_attempt_at=again, detail=detail))
        return again

    def park(self, row: OutboxRow, detail: str) -> None:
        """Refused for good: keep it with the reason. What another attempt has settled since stays settled."""
        pending = update(outbox).where(_is(row), outbox.c.state == OutboxState.PENDING)
        with self._engine.begin() as connection:
            connection.execute(pending.values(state=OutboxState.PARKED, detail=detail))

    def unpark(self, now: datetime) -> int:
        """Try every refused payload again; returns how many there were."""
        with self._engine.begin() as connection:
            changed = connection.execute(
                update(outbox)
                .where(outbox.c.state == OutboxState.PARKED)
                .values(state=OutboxState.PENDING, next_attempt_at=now, attempts=0)
            )
            return changed.rowcount

    def refused(self, limit: int) -> Sequence[Refusal]:
        """What was refused for good, newest first."""
        query = (
            select(outbox.c.kind, outbox.c.key, outbox.c.detail)
            .where(outbox.c.state == OutboxState.PARKED)
            .order_by(outbox.c.id.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [Refusal(DeliveryKind(kind), key, detail or "") for kind, key, detail in connection.execute(query)]

    def result_of(self, challenge_id: ChallengeId) -> ResultTold | None:
        """How telling the result of one challenge stands; None while there is none to tell."""
        query = select(outbox.c.state, outbox.c.attempts, outbox.c.detail).where(
            outbox.c.key == challenge_id, outbox.c.kind.in_(RESULTS)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else ResultTold(OutboxState(row.state), row.attempts, row.detail or "")

    def results_of(self, ids: Collection[ChallengeId]) -> Mapping[ChallengeId, ResultTold]:
        """The same of some challenges, few enough for one query; without those of which there is nothing to tell."""
        columns = outbox.c.key, outbox.c.state, outbox.c.attempts, outbox.c.detail
        query = select(*columns).where(outbox.c.kind.in_(RESULTS), outbox.c.key.in_(list(ids)))
        with reading(self._engine) as connection:
            return {
                ChallengeId(r.key): ResultTold(OutboxState(r.state), r.attempts, r.detail or "")
                for r in connection.execute(query)
            }

    def waiting(self, limit: int) -> Sequence[Waiting]:
        """What was tried and is tried again, the next first."""
        query = (
            select(outbox.c.kind, outbox.c.key, outbox.c.detail, outbox.c.attempts, outbox.c.next_attempt_at)
            .where(outbox.c.state == OutboxState.PENDING, outbox.c.attempts > 0)
            .order_by(outbox.c.next_attempt_at, outbox.c.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [Waiting(DeliveryKind(r.kind), r.key, r.detail or "", r.attempts, r.next_attempt_at) for r in rows]

    def counts(self, kinds: Collection[DeliveryKind] = tuple(DeliveryKind)) -> Mapping[OutboxState, int]:
        """How many deliveries of some kinds, of all by default, are in each state."""
        query = select(outbox.c.state, func.count()).where(outbox.c.kind.in_(kinds)).group_by(outbox.c.state)
        with reading(self._engine) as connection:
            found = {OutboxState(state): count for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in OutboxState}

    def undelivered(self) -> Mapping[tuple[DeliveryKind, OutboxState], Undelivered]:
        """What waits and what was refused for good, by kind and state, of which there is any."""
        figures = func.count().label("number"), func.min(outbox.c.created_at).label("oldest_at")
        query = select(outbox.c.kind, outbox.c.state, *figures).where(outbox.c.state.in_(UNDELIVERED))
        query = query.group_by(outbox.c.kind, outbox.c.state)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return {(DeliveryKind(r.kind), OutboxState(r.state)): Undelivered(r.number, r.oldest_at) for r in rows}

    def undelivered_counts(self, kinds: Collection[DeliveryKind] = tuple(DeliveryKind)) -> Mapping[OutboxState, int]:
        """How many wait and how many were refused, of some kinds; what was delivered is not read."""
        counts = Counter(dict.fromkeys(UNDELIVERED, 0))
        for (kind, state), found in self.undelivered().items():
            counts[state] += found.count if kind in kinds else 0
        return counts

    def has_due(self, now: datetime) -> bool:
        with reading(self._engine) as connection:
            due = select(outbox.c.id).where(_is_due(connection, now)).limit(1)
            return connection.execute(due).first() is not None

    def forget(self, now: datetime, limit: int = FORGOTTEN_AT_ONCE) -> int:
        """Drop payloads and reports that were delivered long ago; returns how many.

        The row of a result stays, for it is what keeps a challenge from being told twice.
        """
        old = outbox.c.state == OutboxState.DELIVERED, outbox.c.next_attempt_at <= now
        due = select(outbox.c.id, outbox.c.challenge_id).where(*old).order_by(outbox.c.next_attempt_at).limit(limit)
        with reading(self._engine) as connection:
            found = connection.execute(due).all()
        if not found:
            return 0
        results = [row.id for row in found if row.challenge_id is not None]
        reports = [row.id for row in found if row.challenge_id is None]
        with self._engine.begin() as connection:
            connection.execute(
                update(outbox).where(outbox.c.id.in_(results)).values(payload=b"", next_attempt_at=NEVER)
            )
            connection.execute(delete(outbox).where(outbox.c.id.in_(reports)))
        return len(found)


def _is_due(connection: Connection, now: datetime) -> ColumnElement[bool]:
    """What may be told now: its time has come, and the receiver did not ask to wait with its kind."""
    asked = connection.execute(select(flags.c.name, flags.c.value).where(flags.c.name.startswith(WAIT)))
    waiting = [name.removeprefix(WAIT) for name, until in asked if datetime.fromisoformat(until) > now]
    return and_(outbox.c.state == OutboxState.PENDING, outbox.c.next_attempt_at <= now, outbox.c.kind.not_in(waiting))


def keep_first_result(
    connection: Connection,
    challenge_id: ChallengeId,
    payload: bytes,
    now: datetime,
    kind: DeliveryKind = DeliveryKind.RESPONSE_BATCH,
) -> bool:
    """Keep what is told of a challenge, within a transaction that also moves it; False when something is kept, and of a
    canary, of which nobody is told.
    """
    if is_canary(connection, challenge_id):
        return False
    kept = select(outbox.c.id).where(outbox.c.key == challenge_id, outbox.c.kind.in_(RESULTS))
    return connection.execute(kept).first() is None and _insert(
        connection, kind, challenge_id, payload, now, challenge_id
    )


def _forget_older(
    connection: Connection, kind: DeliveryKind, state: OutboxState, kept: int, but: Collection[str] = ()
) -> None:
    """Drop all of a kind and state but the newest `kept`, and those of these keys."""
    those = select(outbox.c.id).where(outbox.c.kind == kind, outbox.c.state == state)
    older = those.order_by(outbox.c.created_at.desc(), outbox.c.id.desc()).offset(kept)
    connection.execute(delete(outbox).where(outbox.c.id.in_(older), outbox.c.key.not_in(list(but))))


def _hold(connection: Connection, kind: DeliveryKind, until: datetime, now: datetime) -> None:
    """Nothing of a kind is told until then, or until the end of a longer wait that was asked for before."""
    held = select(flags.c.value).where(flags.c.name == WAIT + kind).with_for_update()
    earlier = connection.execute(held).scalar_one_or_none()
    if earlier is None or datetime.fromisoformat(earlier) < until:
        set_flag(connection, WAIT + kind, until.astimezone(UTC).isoformat(), now)


def _rank() -> Case[int]:
    return case((outbox.c.kind.in_(RESULTS), 0), else_=1)


def _is(row: OutboxRow) -> ColumnElement[bool]:
    """Not by the id alone: SQLite gives that of a row which a newer report replaced to the next one."""
    return and_(outbox.c.id == row.id, outbox.c.kind == row.kind, outbox.c.key == row.key)


def _insert(
    connection: Connection,
    kind: DeliveryKind,
    key: str,
    payload: bytes,
    now: datetime,
    challenge_id: ChallengeId | None = None,
) -> bool:
    """Whether the row is new."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    row = insert(outbox).values(
        kind=kind,
        key=key,
        challenge_id=challenge_id,
        payload=payload,
        state=OutboxState.PENDING,
        attempts=0,
        created_at=now,
        next_attempt_at=now,
    )
    return connection.execute(row.on_conflict_do_nothing()).rowcount == 1


@contextmanager
def _known(challenge_id: ChallengeId) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise UnknownChallenge(f"no challenge {challenge_id!r} was accepted; nothing can be told of it") from error
