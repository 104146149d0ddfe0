"""The queue of runs as a test needs it: one challenge by name, where `Runs` takes whatever is due."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.runs import Claim, Runs, _is_due
from loosh_pipeline.store.schema import challenges

ALL = 1000


def due(inbox: Inbox, now: datetime) -> list[ChallengeId]:
    """What a claim would take then, oldest first. Takes nothing, so it may be asked beside whoever does."""
    oldest = select(challenges.c.id).where(_is_due(now, 0.0)).order_by(challenges.c.received_at, challenges.c.id)
    with reading(inbox.engine) as connection:
        return [ChallengeId(each) for each in connection.execute(oldest).scalars()]


def claim(inbox: Inbox, challenge_id: ChallengeId, now: datetime) -> int | None:
    """Claim a run of this challenge: its attempt, or None when none is due. The others that are due stay so."""
    runs = Runs(inbox.engine)
    claims = {each.id: each for each in runs.claim(now, ALL, ALL)}
    taken = claims.pop(challenge_id, None)
    runs.give_back(list(claims.values()), now)
    return None if taken is None else taken.attempt


def postpone(inbox: Inbox, challenge_id: ChallengeId, until: datetime) -> None:
    """Give the newest claim of this challenge back: its run was refused, and the next one comes then."""
    Runs(inbox.engine).postpone(Claim(challenge_id, inbox.get(challenge_id).attempts), until)
