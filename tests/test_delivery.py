"""Telling the Challenge API: each due row once, what it answers decides what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from loosh_pipeline.delivery import BATCH_LIMIT, BUDGET_S, deliver_due, evaluation_of
from loosh_pipeline.domain import ChallengeId, ChallengeState, DeliveryKind, Outcome
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import LEASE_S, Outbox, OutboxState
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.fakes import FakeChallengeApi
from tests.builders import NOON, round_scores, score


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def at(seconds: float) -> Callable[[], datetime]:
    return lambda: after(seconds)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox.open(f"sqlite:///{tmp_path}/validator.db")


@pytest.fixture
def outbox(inbox: Inbox) -> Outbox:
    return Outbox(inbox.engine, jitter=lambda: 0.0)


def keep(inbox: Inbox, *ids: str) -> None:
    for challenge_id in map(ChallengeId, ids):
        inbox.accept(challenge_id, {"id": challenge_id, "prompt": "hi"}, NOON)
        Outbox(inbox.engine).keep_result(challenge_id, encode_json({"challenge_id": challenge_id}), NOON)


def told(api: FakeChallengeApi) -> list[str]:
    return [call["challenge_id"] for call in api.calls]


def test_the_verdict_names_the_highest_paid_and_everyones_pay() -> None:
    scores = (score("b", 1.5), score("a", 1.5), score("c", 0.0, outcome=Outcome.TIMEOUT))
    verdict = evaluation_of(round_scores(scores))
    assert (verdict.best_miner, verdict.consensus_score) == ("b", 0.5)
    assert verdict.emissions == {"a": 1.5, "b": 1.5, "c": 0.0}
    assert evaluation_of(round_scores(scores[::-1])).best_miner == "b", "a tie does not depend on the order"


def test_nobody_paid_is_no_best_miner_and_no_consensus_is_zero() -> None:
    verdict = evaluation_of(round_scores((score("a", 0.0, outcome=Outcome.EMPTY),), measure=None))
    assert (verdict.best_miner, verdict.consensus_score, verdict.emissions) == (None, 0.0, {"a": 0.0})


@pytest.mark.parametrize("status", [DeliveryStatus.DELIVERED, DeliveryStatus.ALREADY])
def test_delivered_now_or_before_is_done(inbox: Inbox, outbox: Outbox, status: DeliveryStatus) -> None:
    keep(inbox, "c-1")
    api = FakeChallengeApi([Delivery(status)])
    assert deliver_due(outbox, api, at(0)) == {status: 1}
    assert deliver_due(outbox, api, at(1e6)) == {}
    assert inbox.get(ChallengeId("c-1")).state is ChallengeState.SUBMITTED
    assert told(api) == ["c-1"]


def test_retried_rows_wait_as_long_as_they_were_told(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1")
    busy = Delivery(DeliveryStatus.RETRY, "HTTP 429", retry_after_s=100.0)
    api = FakeChallengeApi([busy, Delivery(DeliveryStatus.RETRY, "ConnectError")])
    assert deliver_due(outbox, api, at(0)) == {DeliveryStatus.RETRY: 1}
    assert deliver_due(outbox, api, at(99)) == {}
    assert deliver_due(outbox, api, at(100)) == {DeliveryStatus.RETRY: 1}
    assert deliver_due(outbox, api, at(103)) == {}
    assert deliver_due(outbox, api, at(104)) == {DeliveryStatus.DELIVERED: 1}


def test_refused_is_parked_and_holds_up_nobody(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1", "c-2")
    api = FakeChallengeApi([Delivery(DeliveryStatus.REFUSED, "HTTP 422")])
    tally = deliver_due(outbox, api, at(0))
    assert tally == {DeliveryStatus.REFUSED: 1, DeliveryStatus.DELIVERED: 1}
    assert outbox.counts()[OutboxState.PARKED] == 1


def test_one_challenge_can_be_told_alone(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1", "c-2")
    api = FakeChallengeApi()
    deliver_due(outbox, api, at(0), ChallengeId("c-2"))
    assert told(api) == ["c-2"]


def test_a_call_takes_no_more_than_its_batch_and_tries_no_row_twice(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, *(f"c-{number}" for number in range(BATCH_LIMIT + 3)))
    api = FakeChallengeApi([Delivery(DeliveryStatus.RETRY, "503")] * (BATCH_LIMIT + 3))
    assert deliver_due(outbox, api, at(0)) == {DeliveryStatus.RETRY: BATCH_LIMIT}
    assert deliver_due(outbox, api, at(0)) == {DeliveryStatus.RETRY: 3}
    assert len(set(told(api))) == BATCH_LIMIT + 3


class SlowApi:
    """Takes 15 s to fail, while a second sender looks for work."""

    def __init__(self, outbox: Outbox) -> None:
        self.now_s = 0.0
        self.seen_elsewhere: list[str] = []
        self._outbox = outbox

    def clock(self) -> datetime:
        return after(self.now_s)

    def tell(self, kind: DeliveryKind, payload: bytes) -> Delivery:
        self.now_s += 15.0
        self.seen_elsewhere += [row.key for row in self._outbox.lease(self.clock(), 1)]
        return Delivery(DeliveryStatus.RETRY, f"timeout for {json.loads(payload)['challenge_id']}")


def test_a_slow_api_ends_the_call_in_time_and_keeps_no_row_from_others(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1", "c-2", "c-3", "c-4", "c-5")
    api = SlowApi(outbox)
    assert deliver_due(outbox, api, api.clock) == {DeliveryStatus.RETRY: 2}
    assert api.now_s < BUDGET_S + 15.0
    assert api.seen_elsewhere == ["c-2", "c-4"], "never the one that is under way"
    assert BUDGET_S < LEASE_S


def test_a_delivery_that_dies_is_tried_again_after_its_lease(inbox: Inbox, outbox: Outbox) -> None:
    keep(inbox, "c-1")

    class Dying:
        def tell(self, kind: DeliveryKind, payload: bytes) -> Delivery:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deliver_due(outbox, Dying(), at(0))
    api = FakeChallengeApi()
    assert deliver_due(outbox, api, at(LEASE_S - 1)) == {}
    assert deliver_due(outbox, api, at(LEASE_S)) == {DeliveryStatus.DELIVERED: 1}
