from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from sqlalchemy import select

from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.outbox import OutboxState
from loosh_pipeline.store.schema import outbox
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus
from loosh_pipeline.wire.fakes import FakeChallengeApi
from sensors.outbox_sensor import outbox_sensor
from tests.world import World


def tick(world: World) -> str:
    resources = {"store": world.store, "challenge_api": world.api}
    with dg.build_sensor_context(instance=world.instance, resources=resources) as context:
        result = outbox_sensor(context)
    assert isinstance(result, dg.SkipReason)
    return result.skip_message or ""


def enqueue(world: World, challenge_id: str) -> None:
    now = datetime.now(UTC) - timedelta(seconds=1)
    accepted = world.accept(challenge_id, now=now)
    world.store.outbox.keep_result(accepted, b'{"challenge_id": "%s"}' % challenge_id.encode(), now)


def test_what_waits_is_delivered_once(world: World) -> None:
    enqueue(world, "c-1")
    enqueue(world, "c-2")
    assert tick(world) == "delivered 2"
    assert {call["challenge_id"] for call in world.api.calls} == {"c-1", "c-2"}
    assert world.store.inbox.stats().by_state == {ChallengeState.SUBMITTED: 2}
    assert tick(world) == "nothing is due; waiting 0, refused 0"
    assert len(world.api.calls) == 2


@pytest.mark.parametrize(
    ("status", "state", "challenge_state"),
    [
        (DeliveryStatus.ALREADY, OutboxState.DELIVERED, ChallengeState.SUBMITTED),
        (DeliveryStatus.RETRY, OutboxState.PENDING, ChallengeState.SCORED),
        (DeliveryStatus.REFUSED, OutboxState.PARKED, ChallengeState.SCORED),
    ],
)
def test_each_answer_of_the_api_has_its_place(
    world: World, status: DeliveryStatus, state: OutboxState, challenge_state: ChallengeState
) -> None:
    world.api = FakeChallengeApi([Delivery(status, "as scripted")])
    enqueue(world, "c-1")
    assert tick(world) == f"{status} 1"
    assert world.store.outbox.counts()[state] == 1
    assert world.store.inbox.stats().by_state == {challenge_state: 1}


def test_a_postponed_delivery_is_left_alone_until_it_is_due(world: World) -> None:
    world.api = FakeChallengeApi([Delivery(DeliveryStatus.RETRY, "429", retry_after_s=3600)])
    enqueue(world, "c-1")
    tick(world)
    assert tick(world).startswith("nothing is due; waiting 1, refused 0")
    assert len(world.api.calls) == 1


def test_when_nothing_is_due_what_was_told_long_ago_is_let_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue(world, "c-1")
    monkeypatch.setattr("loosh_pipeline.store.outbox.KEPT", timedelta(0))
    tick(world)
    assert payload_of(world) == b'{"challenge_id": "c-1"}'
    tick(world)
    assert payload_of(world) == b""


def payload_of(world: World) -> bytes:
    with reading(world.store.inbox.engine) as connection:
        return bytes(connection.execute(select(outbox.c.payload)).scalar_one())
