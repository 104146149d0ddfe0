"""Telling the Challenge API: what, and one attempt for every outbox row that is due."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from loosh_pipeline.domain import Challenge, ChallengeId, DeliveryKind, Hotkey, Response
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.store.outbox import Outbox, OutboxRow
from loosh_pipeline.wire.batch import Evaluation, build_callback, build_response_batch, fastest_answer
from loosh_pipeline.wire.challenge_api_client import ChallengeApi, Delivery, DeliveryStatus
from loosh_pipeline.wire.codec import encode_json

BATCH_LIMIT = 50
BUDGET_S = 20.0
"""No delivery is begun later than this: a sensor's tick has 60 s, and one delivery may use up its time limit."""
LONGEST_TURNED_AWAY = timedelta(days=1)
"""What the API still does not want (404, 408, 425) when it has been kept for this long is refused for good."""


def evaluation_of(scores: RoundScores) -> Evaluation:
    """The verdict as the network words it; the best miner is the highest paid, none when nobody was paid.

    The consensus score is the network's own measure, whichever profile pays; the emissions are the round's payouts,
    before the window of rounds is settled.
    """
    paid = [score for score in scores.scores if score.payout > 0]
    best = max(paid, key=lambda score: (score.payout, score.hotkey), default=None)
    emissions: Mapping[Hotkey, float] = {score.hotkey: score.payout for score in scores.scores}
    return Evaluation(
        consensus_score=scores.measure.consensus_score if scores.measure else 0.0,
        emissions=emissions,
        best_miner=best.hotkey if best else None,
    )


def result_of(
    challenge: Challenge, responses: Sequence[Response], evaluation: Evaluation, validator: str, *, test_mode: bool
) -> tuple[DeliveryKind, dict[str, Any]]:
    """What the network is told of a round: its batch, also when nobody answered; in test mode the fastest answer."""
    fastest = fastest_answer(responses) if test_mode else None
    if fastest is not None:
        return DeliveryKind.CALLBACK, build_callback(challenge, fastest.text)
    return DeliveryKind.RESPONSE_BATCH, build_response_batch(challenge, responses, evaluation, validator)


def nothing_of(challenge: Challenge, validator: str) -> bytes:
    """What the network is told of a challenge that was given up: that nobody's answer is forwarded."""
    return encode_json(build_response_batch(challenge, (), Evaluation(consensus_score=0.0), validator))


def by_digest(bodies: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Reports as the outbox keeps them: the same words make the same report."""
    payloads = map(encode_json, bodies)
    return {hashlib.sha256(payload).hexdigest(): payload for payload in payloads}


def deliver_due(
    outbox: Outbox,
    api: ChallengeApi,
    clock: Callable[[], datetime],
    challenge_id: ChallengeId | None = None,
) -> Counter[DeliveryStatus]:
    """Try the rows that are due (or the result of one challenge) while time allows; what became of them, counted.

    A row that cannot be delivered now is tried again later; one that the API refuses for what it says, or has turned
    away for a day, is parked.
    Rows are leased one by one: a slow API must not let the lease of the last run out before its turn.
    """
    tally: Counter[DeliveryStatus] = Counter()
    started = clock()
    while tally.total() < BATCH_LIMIT and (clock() - started).total_seconds() < BUDGET_S:
        leased = outbox.lease(started, 1, challenge_id)
        if not leased:
            break
        delivery = _lasting(leased[0], api.tell(leased[0].kind, leased[0].payload), clock())
        _record(outbox, leased[0], delivery, clock())
        tally[delivery.status] += 1
    return tally


def _lasting(row: OutboxRow, delivery: Delivery, now: datetime) -> Delivery:
    """A refusal in place of one more turning away of an old row."""
    if not delivery.turned_away or now - row.created_at < LONGEST_TURNED_AWAY:
        return delivery
    return replace(delivery, status=DeliveryStatus.REFUSED, detail=f"{delivery.detail}; kept since {row.created_at}")


def _record(outbox: Outbox, row: OutboxRow, delivery: Delivery, now: datetime) -> None:
    match delivery.status:
        case DeliveryStatus.DELIVERED | DeliveryStatus.ALREADY:
            outbox.delivered(row, delivery.detail or delivery.status, now)
        case DeliveryStatus.RETRY:
            outbox.postpone(row, delivery.detail, now, delivery.retry_after_s)
        case DeliveryStatus.REFUSED:
            outbox.park(row, delivery.detail)
