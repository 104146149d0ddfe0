"""What the network is told of a round, through the assets and the outbox."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg
import pytest

from assets import heatmaps
from loosh_pipeline.delivery import nothing_of
from loosh_pipeline.domain import ChallengeState, DeliveryKind, Outcome
from loosh_pipeline.errors import LooshError
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.outbox import Outbox, OutboxState, keep_first_result
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus
from loosh_pipeline.wire.fakes import FakeChallengeApi
from sensors.outbox_sensor import outbox_sensor
from tests.claims import claim
from tests.world import ANSWERS, World, failure_of, metadata_of

UUID = "7b0f6a1e-3c1c-4f0f-9d0a-5c1d2e3f4a5b"
SCORING = ("miner_responses", "embeddings", "consensus_scores")


@pytest.fixture
def set_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def change(**settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(name.upper(), value)
        get_settings.cache_clear()

    return change


def tick(world: World) -> str:
    resources = {"store": world.store, "challenge_api": world.api}
    with dg.build_sensor_context(instance=world.instance, resources=resources) as context:
        result = outbox_sensor(context)
    assert isinstance(result, dg.SkipReason)
    return result.skip_message or ""


def test_scores_alone_do_not_make_a_challenge_scored(world: World) -> None:
    challenge_id = world.accept()
    world.evaluate(challenge_id, *SCORING)
    assert world.state(challenge_id) is ChallengeState.COLLECTED
    assert world.store.inbox.scored_since(datetime.now(UTC) - timedelta(hours=1)) == 0
    stalled = world.store.inbox.stalled(datetime.now(UTC) + timedelta(hours=1), 9)
    assert [row.id for row in stalled] == [challenge_id], "if this run dies here, another follows"

    world.evaluate(challenge_id, "submissions")
    assert world.state(challenge_id) is ChallengeState.SUBMITTED
    assert world.store.inbox.scored_since(datetime.now(UTC) - timedelta(hours=1)) == 1


def test_w_22_given_up_it_is_told_so_once_and_may_be_evaluated_later(world: World) -> None:
    then = datetime.now(UTC) - timedelta(hours=1)
    challenge_id = world.accept(now=then)
    inbox = world.store.inbox
    claim(inbox, challenge_id, then)
    keep_nothing = partial(
        keep_first_result,
        challenge_id=challenge_id,
        payload=nothing_of(inbox.get(challenge_id).challenge(), "5V"),
        now=then,
    )
    inbox.retry(inbox.get(challenge_id), "it always dies", then, 1, keep_nothing)
    assert tick(world) == "delivered 1"
    assert (world.api.calls[0]["responses"], world.state(challenge_id)) == ([], ChallengeState.FAILED)

    inbox.unpark(datetime.now(UTC))
    metadata = metadata_of(world.evaluate(challenge_id), "submissions")
    assert metadata["kept"] == "by an earlier run; the first result stands"
    assert [call["responses"] for call in world.api.calls] == [[]]
    assert world.state(challenge_id) is ChallengeState.SUBMITTED
    assert inbox.scored_since(then) == 1


def test_killed_between_the_scores_and_the_outbox_the_next_run_tells_it_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **_named: object) -> bool:
        raise LooshError("killed between the table and the outbox")

    challenge_id = world.accept()
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "keep_result", killed)
        result = world.evaluate(challenge_id, *SCORING, "submissions", raise_on_error=False)
    assert "killed between" in failure_of(result)
    assert world.state(challenge_id) is ChallengeState.COLLECTED
    assert world.api.calls == []

    for _ in range(2):
        assert world.evaluate(challenge_id).success
    assert world.state(challenge_id) is ChallengeState.SUBMITTED
    assert world.api.kinds == [DeliveryKind.RESPONSE_BATCH]
    assert len(world.miners.asked) == 1


def test_w_20_the_id_of_a_challenge_is_the_one_it_came_with_everywhere(
    world: World, set_to: Callable[..., None]
) -> None:
    set_to(heatmap_upload="true")
    world.evaluate(world.accept(UUID))
    tick(world)
    batch, upload = world.api.calls
    assert (batch["challenge_id"], batch["original_request"]["id"]) == (UUID, UUID)
    assert (upload["challenge_id"], upload["filename"]) == (UUID, f"{UUID}.png")


def test_the_request_goes_back_as_it_was_understood_with_when_it_came(world: World) -> None:
    now = datetime(2026, 3, 22, 10, 0, 0, 123456, tzinfo=UTC)
    challenge_id = world.accept(UUID, now=now)
    world.evaluate(challenge_id, *SCORING, "submissions")
    (batch,) = world.api.calls
    assert batch["original_request"] == world.store.inbox.get(challenge_id).request
    assert batch["original_request"]["created_at"] == "2026-03-22T10:00:00.123456+00:00"


def test_nobody_paid_is_told_as_no_best_miner(instance: dg.DagsterInstance) -> None:
    off_topic = {
        hotkey: f"{word} " * 30 for hotkey, word in zip(ANSWERS, ("ham", "spam", "eggs", "beans"), strict=True)
    }
    world = World(instance, off_topic)
    world.evaluate(world.accept(), *SCORING, "submissions")
    (batch,) = world.api.calls
    assert len(batch["responses"]) == 4
    assert set(batch["evaluation"]["emissions"].values()) == {0.0}
    assert batch["evaluation"]["best_miner_id"] is None


def test_the_best_miner_is_the_highest_paid(world: World) -> None:
    challenge_id = world.accept()
    world.evaluate(challenge_id, *SCORING, "submissions")
    (batch,) = world.api.calls
    paid = {score.hotkey: score.payout for score in world.scores(challenge_id).scores}
    assert batch["evaluation"]["best_miner_id"] == max(paid, key=paid.__getitem__)
    assert batch["evaluation"]["sybil_detection"] is None


def test_in_test_mode_the_fastest_answer_is_told_in_place_of_the_batch(
    world: World, set_to: Callable[..., None]
) -> None:
    set_to(test_mode="true")
    challenge_id = world.accept(UUID)
    result = world.evaluate(challenge_id)
    assert metadata_of(result, "submissions")["told_as"] == "callback"
    assert world.api.kinds == [DeliveryKind.CALLBACK]
    (callback,) = world.api.calls
    assert list(callback) == ["id", "text", "original_request"]
    assert (callback["id"], callback["text"]) == (UUID, ANSWERS["hotkey-1"])
    assert world.state(challenge_id) is ChallengeState.SUBMITTED

    set_to(test_mode="false")
    assert world.evaluate(challenge_id).success
    assert world.api.kinds == [DeliveryKind.CALLBACK], "a challenge is told in one form"


def test_in_test_mode_a_challenge_without_an_answer_is_told_as_such(
    instance: dg.DagsterInstance, set_to: Callable[..., None]
) -> None:
    set_to(test_mode="true")
    world = World(instance, dict.fromkeys(ANSWERS, Outcome.TIMEOUT))
    world.evaluate(world.accept(), *SCORING, "submissions")
    assert world.api.kinds == [DeliveryKind.RESPONSE_BATCH]
    assert world.api.calls[0]["responses"] == []


def test_a_picture_is_uploaded_only_when_asked_for_and_after_the_result(
    world: World, set_to: Callable[..., None]
) -> None:
    assert metadata_of(world.evaluate(world.accept("c-1")), "heatmaps")["upload"] == "off: HEATMAP_UPLOAD is false"
    assert "nothing is due" in tick(world)

    set_to(heatmap_upload="true")
    world.api = FakeChallengeApi([Delivery(DeliveryStatus.RETRY, "503")])
    assert metadata_of(world.evaluate(world.accept("c-2")), "heatmaps")["upload"] == "in the outbox"
    again = metadata_of(world.evaluate(world.accept("c-3")), "heatmaps")["upload"]
    assert again == "in the outbox"
    assert world.api.kinds == [DeliveryKind.RESPONSE_BATCH] * 2, "no run waits for a picture to be told"
    tick(world)
    uploads = [body for kind, body in zip(world.api.kinds, world.api.calls, strict=True) if kind == "heatmap"]
    assert [upload["challenge_id"] for upload in uploads] == ["c-2", "c-3"]
    picture = (world.settings.heatmaps_root / "c-2.png").read_bytes()
    assert base64.b64decode(uploads[0]["data"]) == picture
    assert (uploads[0]["file_type"], uploads[0]["content_type"]) == ("heatmap", "image/png")


def test_a_picture_that_is_too_large_is_not_uploaded(
    world: World, set_to: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to(heatmap_upload="true")
    monkeypatch.setattr(heatmaps, "MAX_UPLOAD_BYTES", 1000)
    said = metadata_of(world.evaluate(world.accept()), "heatmaps")["upload"]
    assert said.startswith("not uploaded: ")
    assert world.store.outbox.counts()[OutboxState.PENDING] == 0


def test_w_26_a_report_of_copying_waits_in_the_outbox_until_it_is_told(world: World) -> None:
    """Nothing is deleted before it was delivered, and the same words are told once."""
    world.api = FakeChallengeApi([Delivery(DeliveryStatus.RETRY, "503")])
    payload = json.dumps({"records": []}).encode()
    now = datetime.now(UTC) - timedelta(minutes=1)
    assert world.store.outbox.keep_reports(DeliveryKind.SYBIL_REPORT, {"digest": payload}, now) == 1
    assert tick(world) == "retry 1"
    assert world.store.outbox.counts()[OutboxState.PENDING] == 1
    assert world.store.outbox.keep_reports(DeliveryKind.SYBIL_REPORT, {"digest": payload}, now) == 0
