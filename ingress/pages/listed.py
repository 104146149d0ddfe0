"""Challenges as the rows of a table: how far each has come, and how telling its result stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingress.pages.concerns import Tone
from ingress.pages.passages import cut
from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.store.listing import Listed
from loosh_pipeline.store.outbox import Outbox, OutboxState, ResultTold

MEANS: Mapping[ChallengeState, str] = {
    ChallengeState.RECEIVED: "waits for its run",
    ChallengeState.DISPATCHED: "its miners are asked",
    ChallengeState.COLLECTED: "its answers are being scored",
    ChallengeState.SCORED: "has scores, and its result is to be delivered",
    ChallengeState.SUBMITTED: "has scores, and nothing is left to do",
    ChallengeState.FAILED: "given up; `loosh retry` gives it another run",
}
"""What each state says of a challenge."""
TONES: Mapping[ChallengeState, Tone] = {ChallengeState.SUBMITTED: "good", ChallengeState.FAILED: "bad"}


DETAIL_ROOM = 300
"""Bytes of what the Challenge API said; the page of the challenge has more of it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How telling a result stands, in a word and with what the Challenge API said."""

    tone: Tone | None
    text: str
    detail: str


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    row: Listed
    delivery: Delivery | None

    @property
    def tone(self) -> Tone | None:
        return TONES.get(self.row.state)

    @property
    def means(self) -> str:
        return MEANS[self.row.state]


def lines(outbox: Outbox, rows: Sequence[Listed]) -> list[Line]:
    """Challenges with the deliveries of their results."""
    told = outbox.results_of([row.id for row in rows])
    return [Line(row, _delivery(told.get(row.id))) for row in rows]


def _delivery(told: ResultTold | None) -> Delivery | None:
    """None where there is nothing to tell, or not yet."""
    if told is None:
        return None
    if told.state is OutboxState.DELIVERED:
        return Delivery(None, "delivered", "")
    detail = cut(told.detail, DETAIL_ROOM)
    if told.state is OutboxState.PARKED:
        return Delivery("bad", "refused", detail)
    return Delivery("warn", f"tried {told.attempts} times", detail) if detail else Delivery(None, "waits", "")
