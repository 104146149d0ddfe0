"""What inbox and outbox know of one challenge beyond its row."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from loosh_pipeline.domain import ChallengeId, DeliveryKind
from loosh_pipeline.errors import UnknownChallenge
from loosh_pipeline.store.canaries import CanaryMark, mark
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.listing import Listing, Wanted
from loosh_pipeline.store.one_challenge import Beside, one_challenge
from loosh_pipeline.store.outbox import Outbox, OutboxState
from tests.builders import NOON

ONE = ChallengeId("c-1")


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox.open(f"sqlite:///{tmp_path}/validator.db")


def accept(inbox: Inbox, challenge_id: str, seconds: float = 0.0) -> None:
    inbox.accept(ChallengeId(challenge_id), {"id": challenge_id, "prompt": "hi"}, NOON + timedelta(seconds=seconds))


def test_steps_and_deliveries(inbox: Inbox) -> None:
    accept(inbox, ONE)
    known = one_challenge(inbox.engine, ONE, show_canaries=True)
    assert known.steps.received_at == NOON
    assert known.steps.scored_at is None
    assert known.deliveries == ()
    outbox, later = Outbox(inbox.engine), NOON + timedelta(seconds=3)
    outbox.keep_result(ONE, b"{}", later)
    outbox.keep_heatmap(ONE, b"picture", later)
    (leased,) = outbox.lease(later, 1)
    outbox.delivered(leased, "HTTP 200", later)
    known = one_challenge(inbox.engine, ONE, show_canaries=True)
    assert known.steps.scored_at == later
    assert known.steps.submitted_at == later
    result, picture = known.deliveries
    assert (result.kind, result.state, result.detail) == (
        DeliveryKind.RESPONSE_BATCH,
        OutboxState.DELIVERED,
        "HTTP 200",
    )
    assert (picture.kind, picture.state, picture.attempts) == (DeliveryKind.HEATMAP, OutboxState.PENDING, 0)


def test_an_unknown_one_is_refused(inbox: Inbox) -> None:
    with pytest.raises(UnknownChallenge):
        one_challenge(inbox.engine, ONE, show_canaries=True)


def test_those_beside_it_are_in_the_order_of_the_list(inbox: Inbox) -> None:
    for name, seconds in (("z", 0), ("b", 1), ("a", 1), ("c", 1), ("y", 2)):
        accept(inbox, name, seconds)
    listed = [row.id for row in Listing(inbox.engine).find(Wanted(), 10).rows]
    assert listed == ["y", "c", "b", "a", "z"]
    for at, name in enumerate(listed):
        beside = one_challenge(inbox.engine, name, show_canaries=True).beside
        assert beside == Beside(
            older=listed[at + 1] if at + 1 < len(listed) else None, newer=listed[at - 1] if at else None
        )


def test_canaries_are_beside_nothing_where_they_are_hidden(inbox: Inbox) -> None:
    for name, seconds in (("a", 0), ("b", 1), ("c", 2)):
        accept(inbox, name, seconds)
    with inbox.engine.begin() as connection:
        mark(connection, ChallengeId("b"), CanaryMark(["x"], "q"), NOON)
    assert one_challenge(inbox.engine, ChallengeId("a"), show_canaries=True).beside.newer == "b"
    assert one_challenge(inbox.engine, ChallengeId("a"), show_canaries=False).beside.newer == "c"
    assert one_challenge(inbox.engine, ChallengeId("b"), show_canaries=True).canary
