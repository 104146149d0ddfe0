"""Who is looked for, who is drawn, and what of it is on record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest

from loosh_pipeline.domain import (
    Availability,
    AvailabilityTable,
    Challenge,
    ChallengeId,
    ChallengeState,
    Hotkey,
    NetworkView,
    Neuron,
    Outcome,
    Response,
    Usage,
)
from loosh_pipeline.orchestrator import CHALLENGES, SCORE_JOB
from loosh_pipeline.run_tags import ATTEMPT_TAG
from loosh_pipeline.selection import repeat_draw
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.inbox import FIRST_RETRY_S, Inbox
from loosh_pipeline.wire.crypto import Signer
from tests.builders import neuron
from tests.claims import claim, postpone
from tests.world import ANSWERS, ScriptedMiners, World, failure_of, metadata_of

ASKING = "miner_responses"


def selections(world: World, challenge_id: ChallengeId) -> pl.DataFrame:
    return world.store.tables.read("selections", world.partition(challenge_id).key)


def look(world: World, *away: str, age: timedelta = timedelta(0)) -> None:
    """Store what an availability run of that age would have found."""
    miners = [one for one in world.chain.metagraph.neurons if one.serves]
    rows = (
        Availability(one.hotkey, one.uid, one.ip or "", one.port, one.hotkey not in away, "", 1.0) for one in miners
    )
    world.store.save_availability(AvailabilityTable(datetime.now(UTC) - age, tuple(rows)))


def asked(world: World) -> list[tuple[str, ...]]:
    return [hotkeys for _, hotkeys in world.miners.asked]


def settle(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name.upper(), value)
    get_settings.cache_clear()


def test_the_draw_is_on_record_and_can_be_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch, min_miners="2", max_miners="2")
    view = NetworkView(datetime.now(UTC), frozenset(), {}, {Hotkey("hotkey-1"): 5.0, Hotkey("hotkey-2"): math.nan})
    world.store.save_network_view(view)
    look(world, "hotkey-4")
    challenge_id = world.accept()
    metadata = metadata_of(world.evaluate(challenge_id, ASKING), ASKING)

    table = selections(world, challenge_id)
    assert repeat_draw(table.to_dicts()) == set(asked(world)[0])
    assert table["hotkey"].to_list() == list(ANSWERS)
    assert table["available"].to_list() == [True, True, True, False]
    assert table["draw_probability"].to_list() == pytest.approx([5 / 7, 1 / 7, 1 / 7, 0])
    assert sum(table["inclusion_probability"]) == pytest.approx(2)
    assert table.row(0, named=True)["block_hash"] == world.chain.metagraph.block_hash
    assert table["availability_taken_at"].null_count() == table["view_taken_at"].null_count() == 0
    assert (metadata["candidates"], metadata["unavailable"], metadata["odd_weights"]) == (4, 1, 1)
    assert metadata["sharing_an_endpoint"] == 0


def test_w_28_what_was_found_long_ago_counts_no_more(world: World) -> None:
    """Availability that nobody refreshes keeps no miner out."""
    stale = timedelta(seconds=5 * world.settings.availability_refresh_s + 5)
    look(world, "hotkey-4", age=stale)
    world.evaluate(world.accept("c-1"), ASKING)
    look(world, "hotkey-4", age=stale - timedelta(seconds=10))
    world.evaluate(world.accept("c-2"), ASKING)
    assert asked(world) == [tuple(ANSWERS), ("hotkey-1", "hotkey-2", "hotkey-3")]
    assert selections(world, ChallengeId("c-1"))["available"].to_list() == [None] * 4


def test_validators_that_the_network_names_are_not_asked(world: World) -> None:
    world.store.save_network_view(NetworkView(datetime.now(UTC), frozenset({Hotkey("hotkey-2")}), {}, {}))
    world.evaluate(world.accept(), ASKING)
    assert asked(world) == [("hotkey-1", "hotkey-3", "hotkey-4")]


def test_w_3_without_enough_miners_nobody_is_asked_and_the_challenge_waits(world: World) -> None:
    look(world, "hotkey-2", "hotkey-3")
    challenge_id = world.accept()
    failed = world.evaluate(challenge_id, ASKING, raise_on_error=False)
    assert "2 of 4 serving miners were available" in failure_of(failed)
    assert (asked(world), world.state(challenge_id)) == ([], ChallengeState.DISPATCHED)
    assert not world.store.tables.exists("selections", world.partition(challenge_id).key)
    look(world)
    assert world.evaluate(challenge_id, ASKING).success
    assert asked(world) == [tuple(ANSWERS)]


class KilledOnce:
    """Miners that are asked by a run which dies, and then by another."""

    def __init__(self, world: World) -> None:
        self.inner = world.miners
        self.killed = False

    def ask(self, neurons: Sequence[Neuron], challenge: Challenge, signer: Signer) -> tuple[Response, ...]:
        responses = self.inner.ask(neurons, challenge, signer)
        if not self.killed:
            self.killed = True
            raise KeyboardInterrupt
        return responses


def test_a_run_that_follows_a_dead_one_asks_the_same_miners(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch, min_miners="2", max_miners="2")
    world.miners = killed = KilledOnce(world)  # type: ignore[assignment]
    challenge_id = world.accept()
    with pytest.raises(KeyboardInterrupt):
        world.evaluate(challenge_id, ASKING)
    moved = replace(world.chain.metagraph, block_hash="0x" + "77" * 32, taken_at=datetime.now(UTC))
    world.store.save_metagraph(moved)
    world.evaluate(challenge_id, ASKING)
    first, second = killed.inner.asked
    assert first == second
    assert selections(world, challenge_id)["block_hash"][0] == world.chain.metagraph.block_hash


def test_a_draw_of_which_too_few_are_still_registered_is_made_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch, min_miners="2", max_miners="2")
    world.miners = killed = KilledOnce(world)  # type: ignore[assignment]
    challenge_id = world.accept()
    with pytest.raises(KeyboardInterrupt):
        world.evaluate(challenge_id, ASKING)
    gone = killed.inner.asked[0][1][0]
    left = tuple(one for one in world.chain.metagraph.neurons if one.hotkey != gone)
    world.store.save_metagraph(replace(world.chain.metagraph, neurons=left, taken_at=datetime.now(UTC)))
    world.evaluate(challenge_id, ASKING)
    assert gone not in killed.inner.asked[1][1]
    assert repeat_draw(selections(world, challenge_id).to_dicts()) == set(killed.inner.asked[1][1])


def test_w_16_who_does_not_answer_has_a_row_that_counts_as_asked(world: World) -> None:
    challenge_id = world.accept()
    world.evaluate(challenge_id, ASKING)
    late = world.store.responses(world.partition(challenge_id))[3]
    assert (late.hotkey, late.outcome, late.elapsed_ms) == ("hotkey-4", Outcome.TIMEOUT, None)
    assert world.store.inbox.get(challenge_id).asked == 4


def save_metagraph(world: World, *neurons: Neuron) -> None:
    own = world.chain.metagraph.neurons[0]
    world.store.save_metagraph(replace(world.chain.metagraph, neurons=(own, *neurons), taken_at=datetime.now(UTC)))


def test_serving_neurons_are_looked_for_and_what_they_say_is_kept(world: World) -> None:
    save_metagraph(world, neuron(1), neuron(2), neuron(3, ip=None), neuron(4, validator_permit=True), neuron(5, port=0))
    world.miners.away = frozenset({"hotkey-2", "hotkey-4"})
    metadata = metadata_of(world.refresh_availability(), "miner_availability")

    assert world.miners.probed == [("hotkey-1", "hotkey-2", "hotkey-4")]
    found = world.store.newest_availability()
    assert found is not None
    assert {row.hotkey: row.available for row in found.rows} == {"hotkey-1": True, "hotkey-2": False, "hotkey-4": False}
    assert (metadata["looked_for"], metadata["available"], metadata["dagster/row_count"]) == (3, 1, 3)
    assert metadata["reasons"] == {"no usable answer": 2}, "alike for all; details are in the rows"
    assert found.rows[1].reason.startswith("no usable answer: from port ")


@pytest.mark.parametrize("known", [False, True])
def test_when_nobody_serves_nobody_is_looked_for(world: World, known: bool) -> None:
    if known:
        save_metagraph(world)
    metadata = metadata_of(world.refresh_availability(), "miner_availability")
    assert (metadata["looked_for"], world.miners.probed) == (0, [])
    assert world.store.newest_availability() is None


def test_w_15_to_say_that_one_is_there_is_not_to_have_answered(world: World) -> None:
    """Being active comes from an answered challenge alone: a probe never changes it."""
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    save_metagraph(world, neuron(1), neuron(2), neuron(3), neuron(4))
    world.refresh_availability()
    assert world.store.inbox.active_miners(hour_ago) == 0
    world.evaluate(world.accept(), ASKING)
    world.refresh_availability()
    assert world.store.inbox.active_miners(hour_ago) == 3
    assert world.store.inbox.active_miners(datetime.now(UTC)) == 0


def test_w_11_the_answers_are_on_disk_before_the_database_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: Any) -> bool:
        raise OSError("database is locked")

    challenge_id = world.accept()
    with monkeypatch.context() as patch:
        patch.setattr(Inbox, "collected", locked)
        assert not world.evaluate(challenge_id, ASKING, raise_on_error=False).success
    assert world.evaluate(challenge_id, ASKING).success
    assert len(world.miners.asked) == 1
    assert world.store.inbox.get(challenge_id).answered == 3


class CallsATool(ScriptedMiners):
    """Miners of which the first answers with a tool call and no text."""

    def ask(self, neurons: Sequence[Neuron], challenge: Challenge, signer: Signer) -> tuple[Response, ...]:
        first, *others = super().ask(neurons, challenge, signer)
        call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        return replace(first, text="", tool_calls=(call,), finish_reason="tool_calls", usage=Usage(1, 2, 3)), *others


def test_w_21_a_tool_call_is_an_answer_that_the_network_is_told_of(world: World) -> None:
    """Nothing in it can be compared in words, so it is not scored; it is told nevertheless, whole."""
    world.miners = CallsATool(ANSWERS)
    challenge_id = world.accept()
    assert world.evaluate(challenge_id).success
    assert world.store.inbox.get(challenge_id).answered == 3
    (batch,) = world.api.calls
    told = {entry["miner_id"]: entry for entry in batch["responses"]}["hotkey-1"]
    assert told["tool_calls"][0]["id"] == "call_1"
    assert (told["text"], told["finish_reason"]) == ("", "tool_calls")
    assert told["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    first = world.scores(challenge_id).scores[0]
    assert (first.outcome, first.scored, first.reason) == (Outcome.ANSWERED, False, "empty")


def launched(world: World, challenge_id: ChallengeId, attempt: str) -> dg.ExecuteInProcessResult:
    """What a run does that was launched for an attempt."""
    world.instance.add_dynamic_partitions(CHALLENGES, [challenge_id])
    how = {"partition_key": challenge_id, "tags": {ATTEMPT_TAG: attempt}}
    return world._run(SCORE_JOB, (ASKING,), False, **how)


def test_a_run_that_was_overtaken_asks_nobody(world: World) -> None:
    challenge_id, now = world.accept(), datetime.now(UTC)
    claim(world.store.inbox, challenge_id, now)
    postpone(world.store.inbox, challenge_id, now)
    claim(world.store.inbox, challenge_id, now)
    late = launched(world, challenge_id, "1")
    assert "is at attempt 2; this run was launched as 1" in failure_of(late)
    assert asked(world) == []
    assert launched(world, challenge_id, "2").success
    assert len(asked(world)) == 1


def test_while_one_run_asks_no_other_does(world: World) -> None:
    challenge_id, now = world.accept(), datetime.now(UTC)
    claim(world.store.inbox, challenge_id, now)
    asking = world.add_run(SCORE_JOB, dg.DagsterRunStatus.STARTED)
    world.store.runs.begin(challenge_id, asking.run_id, 1, now, lambda _: False)
    second = launched(world, challenge_id, "1")
    assert f"run {asking.run_id} evaluates challenge c-1" in failure_of(second)
    assert asked(world) == []
    world.instance.report_run_failed(asking)
    assert launched(world, challenge_id, "1").success
    assert len(asked(world)) == 1


def test_what_was_answered_is_taken_on_by_whichever_run(world: World) -> None:
    challenge_id, now = world.accept(), datetime.now(UTC)
    claim(world.store.inbox, challenge_id, now)
    assert launched(world, challenge_id, "1").success
    world.store.inbox.retry(world.store.inbox.get(challenge_id), "it died", now, max_attempts=9)
    assert claim(world.store.inbox, challenge_id, now + timedelta(seconds=FIRST_RETRY_S)) == 2
    assert launched(world, challenge_id, "1").success, "it asks nobody, so it disturbs nobody"
    assert len(asked(world)) == 1


def test_beside_a_running_validator_nobody_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    challenge_id = world.accept()
    monkeypatch.setattr("assets.miner_responses.only_looking", lambda home: f"a validator runs in {home}")
    assert "a validator runs in" in failure_of(launched(world, challenge_id, "0"))
    assert asked(world) == []
    monkeypatch.undo()
    assert launched(world, challenge_id, "0").success
    monkeypatch.setattr("assets.miner_responses.only_looking", lambda home: f"a validator runs in {home}")
    assert launched(world, challenge_id, "0").success, "what is recorded can be materialized again"
    assert len(asked(world)) == 1
