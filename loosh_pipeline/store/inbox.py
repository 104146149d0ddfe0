"""The inbox: every challenge ever accepted, and how far it has come.

A row is committed before a sender hears 201. From then on the row, not a process, is what makes the work happen:
`next_run_at` says when a run is to be requested, and a run that dies without finishing gets another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, literal, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from loosh_pipeline.audit.acceptances import Link
from loosh_pipeline.domain import RESULTS, STATE_ORDER, Challenge, ChallengeId, ChallengeState, Outcome, Response
from loosh_pipeline.errors import DuplicateChallenge, UnknownChallenge
from loosh_pipeline.requests import resolve_challenge
from loosh_pipeline.store.accepting import Candidate, accept, accepting
from loosh_pipeline.store.database import open_database, reading, schema_version
from loosh_pipeline.store.figures import WITHOUT_SCORES, InboxStats, figures, fold
from loosh_pipeline.store.flags import flag, set_flag
from loosh_pipeline.store.moments import IDS_AT_ONCE
from loosh_pipeline.store.schema import UtcDateTime, challenges, miners, outbox

RUNNING = "running"
UNFINISHED = (ChallengeState.DISPATCHED, ChallengeState.COLLECTED, ChallengeState.SCORED)
WAITING = (ChallengeState.RECEIVED, *UNFINISHED)
GIVEN_UP = challenges.c.state == literal_column(f"'{ChallengeState.FAILED}'")
"""Said in the statement and not bound to it, as the index of these is found only so."""
FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 600.0
MOST_DOUBLINGS = 16
"""Beyond it a pause has long reached its longest, and 2 ** attempts leaves the range of a float."""


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One accepted challenge. `request` is the body exactly as it was understood."""

    id: ChallengeId
    request: Mapping[str, Any]
    state: ChallengeState
    received_at: datetime
    state_changed_at: datetime
    attempts: int
    asked: int
    answered: int
    scored_at: datetime | None
    failure: str | None
    run_id: str | None
    link: Link | None = None
    """Its place in the chain; None of what was accepted before there was one."""

    def challenge(self) -> Challenge:
        return resolve_challenge(self.request, self.received_at)


@dataclass(frozen=True, slots=True)
class Parked:
    """Challenges that were given up: how many, and the last one of them with the reason."""

    count: int
    newest: ChallengeId | None = None
    failure: str = ""


class Inbox:
    """Durable challenges. Every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Inbox:
        return cls(open_database(url, "inbox"))

    @property
    def schema_version(self) -> str | None:
        return schema_version(self.engine)

    def accept(self, challenge_id: ChallengeId, request: Mapping[str, Any], now: datetime) -> Link:
        """Commit a challenge; returns its link. Raises DuplicateChallenge when the id was ever accepted before."""
        candidate = Candidate.of(challenge_id, request, now)
        with accepting(self.engine) as connection:
            accepted = accept(connection, [candidate])
        if challenge_id not in accepted:
            raise DuplicateChallenge(f"Challenge {challenge_id} already exists")
        return accepted[challenge_id]

    def get(self, challenge_id: ChallengeId) -> InboxRow:
        """Raises UnknownChallenge when it was never accepted."""
        with reading(self.engine) as connection:
            row = connection.execute(select(challenges).where(challenges.c.id == challenge_id)).one_or_none()
        if row is None:
            raise UnknownChallenge(f"no challenge {challenge_id!r} was accepted; POST it to /challenges first")
        return inbox_row(row)

    def get_many(self, ids: Sequence[str]) -> Sequence[InboxRow]:
        """Those of some challenges that were accepted here, in the order in which they came."""
        query = select(challenges).where(challenges.c.id.in_(ids)).order_by(challenges.c.received_at, challenges.c.id)
        with reading(self.engine) as connection:
            return [inbox_row(row) for row in connection.execute(query)]

    def received_between(self, since: datetime, until: datetime) -> Sequence[ChallengeId]:
        """Challenges that came from `since` on and before `until`, the oldest first."""
        came = challenges.c.received_at >= since, challenges.c.received_at < until
        query = select(challenges.c.id).where(*came).order_by(challenges.c.received_at, challenges.c.id)
        with reading(self.engine) as connection:
            return [ChallengeId(each) for each in connection.execute(query).scalars()]

    def all_ids(self) -> Iterator[str]:
        """Ids of all challenges, from its index, some at a time."""
        query = select(challenges.c.id).order_by(challenges.c.id).limit(IDS_AT_ONCE)
        after: str | None = ""
        while after is not None:
            with reading(self.engine) as connection:
                ids = connection.execute(query.where(challenges.c.id > after)).scalars().all()
            yield from ids
            after = ids[-1] if ids else None

    def recent(self, limit: int) -> Sequence[InboxRow]:
        """The challenges accepted last, newest first."""
        query = select(challenges).order_by(challenges.c.received_at.desc(), challenges.c.id).limit(limit)
        with reading(self.engine) as connection:
            return [inbox_row(row) for row in connection.execute(query)]

    def stalled(self, before: datetime, limit: int, now: datetime | None = None) -> Sequence[InboxRow]:
        """Challenges that were handed to a run and have not moved since `before`: their run may be dead.

        So may that of one which moved after `now`, before the clock was set back. Results are the outbox's concern.
        """
        changed_at = challenges.c.state_changed_at
        result = (outbox.c.key == challenges.c.id) & outbox.c.kind.in_(RESULTS)
        told = select(outbox.c.id).where(result).exists()
        query = (
            select(challenges)
            .where(
                challenges.c.state.in_(UNFINISHED),
                challenges.c.next_run_at.is_(None),
                (changed_at < before) if now is None else (changed_at < before) | (changed_at > now),
                (challenges.c.state != ChallengeState.SCORED) | ~told,
            )
            .order_by(changed_at)
            .limit(limit)
        )
        with reading(self.engine) as connection:
            return [inbox_row(row) for row in connection.execute(query)]

    def parked(self) -> Parked:
        """What was given up, and waits for an operator's retry."""
        newest = select(challenges.c.id, challenges.c.failure).where(GIVEN_UP)
        with reading(self.engine) as connection:
            count = connection.execute(select(func.count()).select_from(challenges).where(GIVEN_UP)).scalar_one()
            row = connection.execute(newest.order_by(challenges.c.state_changed_at.desc()).limit(1)).one_or_none()
        return Parked(count) if row is None else Parked(count, ChallengeId(row.id), row.failure or "")

    def unpark(self, now: datetime) -> int:
        """Give every parked challenge its runs again; returns how many there were."""
        with self.engine.begin() as connection:
            changed = connection.execute(
                update(challenges)
                .where(challenges.c.state == ChallengeState.FAILED)
                .values(state=ChallengeState.RECEIVED, next_run_at=now, attempts=0, state_changed_at=now)
            )
            return changed.rowcount

    def oldest_waiting(self) -> datetime | None:
        """Since when the challenge that waits longest for its run to be requested has been due; None: none waits."""
        query = select(func.min(challenges.c.next_run_at)).where(challenges.c.state.in_(WAITING))
        with reading(self.engine) as connection:
            return connection.execute(query).scalar_one_or_none()

    def moved_since(self, since: datetime) -> bool:
        """Whether a challenge that is being evaluated has moved on since then."""
        query = select(challenges.c.id).where(
            challenges.c.state.in_(UNFINISHED), challenges.c.state_changed_at >= since
        )
        with reading(self.engine) as connection:
            return connection.execute(query.limit(1)).first() is not None

    def waiting(self) -> Mapping[ChallengeState, int]:
        """Challenges that have no scores yet and are not given up, by state. Reads no more rows than there are."""
        query = select(challenges.c.state, func.count()).where(challenges.c.state.in_(WITHOUT_SCORES))
        with reading(self.engine) as connection:
            rows = connection.execute(query.group_by(challenges.c.state)).all()
        return {ChallengeState(state): int(count) for state, count in rows}

    def seen_alive(self, row: InboxRow, now: datetime) -> None:
        """Its run lives, though slowly: look at the others first, so that no dead one waits behind a long queue."""
        with self.engine.begin() as connection:
            connection.execute(
                update(challenges)
                .where(challenges.c.id == row.id, challenges.c.state == row.state)
                .values(state_changed_at=now)
            )

    def retry(
        self,
        row: InboxRow,
        reason: str,
        now: datetime,
        max_attempts: int,
        given_up: Callable[[Connection], object] = lambda _: None,
    ) -> ChallengeState:
        """Schedule another run after a dead one, later each time; after `max_attempts`, park it as failed.

        What `given_up` does happens in the transaction that parks it. Returns the state it is in now; a challenge that
        moved on since `row` was read is left as it is.
        """
        spent = row.attempts >= max_attempts
        if spent:
            change: dict[str, Any] = {"state": ChallengeState.FAILED, "next_run_at": None}
        else:
            change = {"next_run_at": now + timedelta(seconds=pause_s(row.attempts, FIRST_RETRY_S, LONGEST_RETRY_S))}
        change |= {"failure": reason, "state_changed_at": now}
        with self.engine.begin() as connection:
            changed = connection.execute(
                update(challenges)
                .where(
                    challenges.c.id == row.id,
                    challenges.c.state == row.state,
                    challenges.c.attempts == row.attempts,
                    challenges.c.run_id.is_not_distinct_from(row.run_id),  # else a run has begun since
                    challenges.c.next_run_at.is_(None),
                    challenges.c.folded_at.is_(None),  # else it stands in the totals as submitted
                )
                .values(change)
            )
            if spent and changed.rowcount == 1:
                given_up(connection)
            state = connection.execute(select(challenges.c.state).where(challenges.c.id == row.id)).scalar_one()
        return ChallengeState(state)

    def collected(self, challenge_id: ChallengeId, responses: Sequence[Response], now: datetime) -> bool:
        """Record that the responses lie in their table; counts each miner once, however often it is called."""
        answered = [r for r in responses if r.outcome is Outcome.ANSWERED]
        figures = {
            "collected_at": now,
            "asked": len(responses),
            "answered": len(answered),
            "elapsed_ms_sum": float(sum(r.elapsed_ms or 0.0 for r in answered)),
        }
        first = update(challenges).where(challenges.c.id == challenge_id, challenges.c.collected_at.is_(None))
        with self.engine.begin() as connection:
            moved = advance(connection, challenge_id, ChallengeState.COLLECTED, now)
            # A parked challenge that is run again was counted before it was parked.
            if connection.execute(first.values(figures)).rowcount == 1:
                for response in sorted(responses, key=lambda each: each.hotkey):  # one order: no deadlock on Postgres
                    _count_miner(connection, response, now)
            return moved

    def states(self, ids: Sequence[str]) -> Mapping[str, ChallengeState]:
        """How far those of some challenges are that were accepted here."""
        query = select(challenges.c.id, challenges.c.state).where(challenges.c.id.in_(ids))
        with reading(self.engine) as connection:
            return {row.id: ChallengeState(row.state) for row in connection.execute(query)}

    def fold(self, before: datetime, now: datetime, limit: int) -> int:
        """Let challenges that were submitted before then stand in the totals; returns how many, at most `limit`."""
        return fold(self.engine, before, now, limit)

    def stats(self) -> InboxStats:
        return figures(self.engine)

    def latencies_s(self, since: datetime) -> list[float]:
        """Seconds from acceptance to scores that are ready to be told, of challenges received since then."""
        query = select(challenges.c.received_at, challenges.c.scored_at).where(
            challenges.c.received_at >= since, challenges.c.scored_at.is_not(None)
        )
        with reading(self.engine) as connection:
            return [(row.scored_at - row.received_at).total_seconds() for row in connection.execute(query)]

    def scored_since(self, since: datetime, most: int | None = None) -> int:
        """Challenges received since then whose scores are ready to be told; counted no further than `most`."""
        those = select(challenges.c.id).where(challenges.c.received_at >= since, challenges.c.scored_at.is_not(None))
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).select_from(those.limit(most).subquery())).scalar_one()

    def active_miners(self, since: datetime) -> int:
        """Miners that answered a challenge since then (a probe does not count)."""
        query = select(func.count()).select_from(miners).where(miners.c.last_answered_at >= since)
        with reading(self.engine) as connection:
            return connection.execute(query).scalar_one()

    def is_running(self) -> bool:
        """Whether new challenges are accepted; true until an operator says otherwise."""
        with reading(self.engine) as connection:
            noted = flag(connection, RUNNING)
        return noted is None or noted.value != "false"

    def newest_received(self) -> datetime | None:
        """When the newest challenge came."""
        with reading(self.engine) as connection:
            return connection.execute(select(func.max(challenges.c.received_at))).scalar_one_or_none()

    def oldest_received(self) -> datetime | None:
        """When the first challenge came."""
        with reading(self.engine) as connection:
            return connection.execute(select(func.min(challenges.c.received_at))).scalar_one_or_none()

    def set_running(self, running: bool, now: datetime) -> None:
        with self.engine.begin() as connection:
            set_flag(connection, RUNNING, "true" if running else "false", now)


def pause_s(attempts: int, first_s: float, longest_s: float) -> float:
    """How long to wait after that many attempts: twice as long each time, up to the longest."""
    return float(min(first_s * 2 ** min(max(attempts - 1, 0), MOST_DOUBLINGS), longest_s))


def inbox_row(row: Row[Any]) -> InboxRow:
    return InboxRow(
        id=ChallengeId(row.id),
        request=row.request,
        state=ChallengeState(row.state),
        received_at=row.received_at,
        state_changed_at=row.state_changed_at,
        attempts=row.attempts,
        asked=row.asked,
        answered=row.answered,
        scored_at=row.scored_at,
        failure=row.failure,
        run_id=row.run_id,
        link=None if row.seq is None else Link(row.seq, row.link),
    )


def _insert(connection: Connection, table: Any) -> Any:
    return (sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert)(table)


def advance(
    connection: Connection, challenge_id: ChallengeId, state: ChallengeState, now: datetime, **figures: Any
) -> bool:
    """Move a challenge forward; False when it was there already, so that a repeated step counts nothing twice.

    A parked (`failed`) challenge moves on too when a run that an operator started gets it further. What moves is
    being run, so a run that was scheduled for later is no longer needed; if this one dies too, it stalls.
    """
    earlier = [s for s in ChallengeState if STATE_ORDER[s] < STATE_ORDER[state] or s is ChallengeState.FAILED]
    moved = connection.execute(
        update(challenges)
        .where(challenges.c.id == challenge_id, challenges.c.state.in_(earlier))
        .values(state=state, state_changed_at=now, next_run_at=None, **figures)
    )
    return moved.rowcount == 1


def advance_to_scored(connection: Connection, challenge_id: ChallengeId, now: datetime, **figures: Any) -> bool:
    """The scores lie in their table and the result in the outbox; the first time counts."""
    scored_at = func.coalesce(challenges.c.scored_at, literal(now, UtcDateTime))
    return advance(connection, challenge_id, ChallengeState.SCORED, now, scored_at=scored_at, failure=None, **figures)


def advance_to_submitted(connection: Connection, challenge_id: ChallengeId, now: datetime, told_at: datetime) -> None:
    """The network was told of its scores. One that was given up stays so, though it was told of that."""
    connection.execute(
        update(challenges)
        .where(challenges.c.id == challenge_id, challenges.c.state == ChallengeState.SCORED)
        .values(state=ChallengeState.SUBMITTED, state_changed_at=now, next_run_at=None, submitted_at=told_at)
    )


def _count_miner(connection: Connection, response: Response, now: datetime) -> None:
    answered = response.outcome is Outcome.ANSWERED
    seen: dict[str, Any] = {
        "coldkey": response.coldkey,
        "uid": response.uid,
        "ip": response.ip,
        "port": response.port,
        "last_outcome": response.outcome,
        "last_asked_at": now,
    } | ({"last_answered_at": now} if answered else {})
    new = _insert(connection, miners).values(hotkey=response.hotkey, asked=1, answered=int(answered), **seen)
    counts = {"asked": miners.c.asked + 1, "answered": miners.c.answered + int(answered)}
    connection.execute(new.on_conflict_do_update(index_elements=["hotkey"], set_=seen | counts))
