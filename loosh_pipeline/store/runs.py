"""The inbox as the queue of runs: who is next, who has room, and which run may ask the miners of a challenge.

A challenge is *in flight* from the claim of its run until it has scores, or until that run is known to be dead. At
most so many are in flight; the others wait here, so that neither Dagster nor Celery ever holds a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, and_, case, func, or_, select, text, update

from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import Overtaken, UnknownChallenge
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import LONGEST_RETRY_S, UNFINISHED, InboxRow, inbox_row
from loosh_pipeline.store.schema import challenges

CLAIM_LOCK_ID = 7_802_027
"""Key of the advisory lock under which several ingresses, and the sensor, count the room on Postgres."""
UNSCORED = (ChallengeState.DISPATCHED, ChallengeState.COLLECTED)
IN_FLIGHT = and_(challenges.c.state.in_(UNSCORED), challenges.c.next_run_at.is_(None))
WAITS = challenges.c.next_run_at.is_not(None)
"""Only a challenge that may still be run has such a time; no other condition, as there is an index of just these."""

STARTED_STATE = case(
    (challenges.c.state == ChallengeState.RECEIVED, ChallengeState.DISPATCHED.value), else_=challenges.c.state
)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to request one run of a challenge."""

    id: ChallengeId
    attempt: int
    received_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Queue:
    """How many challenges are in flight, whether one is due, and whether one waits, be it for the end of a pause."""

    in_flight: int
    due: bool
    waits: bool


class Runs:
    """Every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def queue(self, now: datetime, waited_s: float = 0.0) -> Queue:
        """How the queue stands; due is what has been so for that long. However long it is, little of it is read."""
        with reading(self._engine) as connection:
            due = _any(connection, _is_due(now, waited_s))
            return Queue(_in_flight(connection), due, due or _any(connection, WAITS))

    def claim(self, now: datetime, room: int, limit: int, waited_s: float = 0.0) -> list[Claim]:
        """Take the right to request runs of what is due, oldest first: `limit` at most, `room` in flight at most.

        `waited_s`: of what has been due for that long only. Nobody else gets them, or counts the same room: one
        transaction looks and takes.
        """
        due = _is_due(now, waited_s)
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # SQLite's transactions that write come one after the other
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CLAIM_LOCK_ID})
            free = min(room - _in_flight(connection), limit)
            if free <= 0:
                return []
            oldest = select(challenges.c.id).where(due).order_by(challenges.c.received_at, challenges.c.id)
            ids = list(connection.execute(oldest.limit(free)).scalars())
            taken = connection.execute(
                update(challenges)
                # The condition twice: on Postgres, who waited for another's claim looks again.
                .where(challenges.c.id.in_(ids), due)
                .values(
                    next_run_at=None,
                    attempts=challenges.c.attempts + 1,
                    state=STARTED_STATE,
                    state_changed_at=now,
                    run_id=None,
                )
                .returning(challenges.c.id, challenges.c.attempts, challenges.c.received_at)
            )
            claims = {row.id: Claim(ChallengeId(row.id), int(row.attempts), row.received_at) for row in taken}
        return [claims[each] for each in ids if each in claims]

    def give_back(self, claims: Sequence[Claim], now: datetime) -> None:
        """Undo claims of which for certain no run was launched: they are as they were, and the attempt is not used up.

        Only while a claim is the newest and no run has begun: one that came back late takes nothing from another.
        """
        first = challenges.c.attempts == 1
        undone = {
            "attempts": challenges.c.attempts - 1,
            "next_run_at": case((first, challenges.c.received_at), else_=now),
            "state": case(
                (and_(first, challenges.c.state == ChallengeState.DISPATCHED), ChallengeState.RECEIVED.value),
                else_=challenges.c.state,
            ),
        }
        with self._engine.begin() as connection:
            for claim in claims:
                connection.execute(update(challenges).where(_still(claim)).values(undone))

    def postpone(self, claim: Claim, until: datetime) -> None:
        """Give a claim back whose run was refused: the attempt is used up, and the next one comes then."""
        with self._engine.begin() as connection:
            connection.execute(update(challenges).where(_still(claim)).values(next_run_at=until))

    def begin(
        self,
        challenge_id: ChallengeId,
        run_id: str,
        attempt: int | None,
        now: datetime,
        is_over: Callable[[str], bool],
    ) -> None:
        """Note that a run is about to ask the miners: from here on no other may, until this run is over.

        `attempt` is the one that the run was launched as; None when a person or a backfill did. Raises `Overtaken`
        when the challenge was given to a later attempt, or when another run has begun and is not over.
        """
        with reading(self._engine) as connection:
            row = connection.execute(select(challenges).where(challenges.c.id == challenge_id)).one_or_none()
        if row is None:
            raise UnknownChallenge(f"no challenge {challenge_id!r} was accepted; POST it to /challenges first")
        if attempt is not None and row.attempts != attempt:
            raise Overtaken(
                f"challenge {challenge_id} is at attempt {row.attempts}; this run was launched as {attempt}"
            )
        if row.run_id not in (None, run_id) and not is_over(row.run_id):
            raise Overtaken(f"run {row.run_id} evaluates challenge {challenge_id}; wait until it is over")
        # Only if nobody else has begun, and nobody has claimed it, since it was read.
        same = challenges.c.attempts == row.attempts, challenges.c.run_id.is_not_distinct_from(row.run_id)
        begun = {"run_id": run_id, "next_run_at": None, "state": STARTED_STATE, "state_changed_at": now}
        with self._engine.begin() as connection:
            update_row = update(challenges).where(challenges.c.id == challenge_id, *same).values(begun)
            if connection.execute(update_row).rowcount != 1:
                raise Overtaken(f"another run took challenge {challenge_id} up a moment ago")

    def unscored(self, ids: Sequence[str]) -> list[InboxRow]:
        """Those of the challenges that are in flight."""
        query = select(challenges).where(challenges.c.id.in_(ids), IN_FLIGHT)
        with reading(self._engine) as connection:
            return [inbox_row(row) for row in connection.execute(query)]


def _any(connection: Connection, condition: ColumnElement[bool]) -> bool:
    return connection.execute(select(challenges.c.id).where(condition).limit(1)).first() is not None


def _in_flight(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(challenges).where(IN_FLIGHT)).scalar_one()


def _is_due(now: datetime, waited_s: float) -> ColumnElement[bool]:
    """Whether a run is due, and has been for that long.

    No pause is longer than LONGEST_RETRY_S, and what was just received is due at once: a later time was written before
    the clock was set back, and nobody is to wait until it has caught up.
    """
    at = challenges.c.next_run_at
    new = challenges.c.state == ChallengeState.RECEIVED
    return and_(
        WAITS,
        or_(
            at <= now - timedelta(seconds=waited_s),
            and_(new, at > now),
            at > now + timedelta(seconds=LONGEST_RETRY_S),
        ),
    )


def _still(claim: Claim) -> ColumnElement[bool]:
    """Whether a claim is the newest of its challenge and no run has begun under it."""
    return and_(
        challenges.c.id == claim.id,
        challenges.c.attempts == claim.attempt,
        challenges.c.state.in_(UNFINISHED),
        challenges.c.next_run_at.is_(None),
        challenges.c.run_id.is_(None),
    )
