from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest

import sensors.receipts_schedule as schedule_module
from loosh_pipeline.errors import ChainError, ConfigError
from loosh_pipeline.weight_setting import utc_now
from sensors.jobs import read_receipts, set_weights
from sensors.receipts_schedule import receipts_schedule
from tests.sensors.ticks import Tick, skipped, ticked
from tests.world import World


def tick(world: World) -> Tick:
    return ticked(receipts_schedule, world, chain=world.chain)


def without_runs(world: World) -> None:
    for run in world.instance.get_runs():
        world.instance.delete_run(run.run_id)


def later(monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    monkeypatch.setattr(schedule_module, "utc_now", lambda: utc_now() + timedelta(minutes=minutes))


def test_without_a_submission_there_is_nothing_to_read(world: World) -> None:
    assert skipped(tick(world)) == "nothing was submitted yet, so there is nothing to read back"
    world.chain.fail("identity", ConfigError("there is no hotkey file"))
    assert skipped(tick(world)) == "there is no hotkey file"


def test_what_is_decided_is_not_read_again(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.set_weights()
    assert "the weights of block 100 are observed: the chain's row of block 101" in skipped(tick(world))


def test_what_was_sent_to_another_chain_is_not_read_from_the_one_that_was_seen_last(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("sending", ChainError("lost"))
    world.set_weights(raise_on_error=False)
    without_runs(world)
    world.chain.metagraph = replace(world.chain.metagraph, genesis_hash="0x" + "7e" * 32)
    world.store.save_metagraph(replace(world.chain.metagraph, taken_at=utc_now()))
    assert skipped(tick(world)) == "nothing was submitted yet, so there is nothing to read back"


def test_a_lost_outcome_is_read_within_two_minutes_and_then_every_two_minutes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("sending", ChainError("lost"))
    world.set_weights(raise_on_error=False)
    without_runs(world)
    assert "the next look is 0:00:45 after that" in skipped(tick(world))
    later(monkeypatch, 1)
    asked = len(world.chain.calls)
    assert isinstance(tick(world), dg.RunRequest)
    assert world.chain.calls[asked:] == ["identity"], "a tick reads the ledger, not the chain"
    monkeypatch.undo()
    world.set_weights("weight_receipts")
    without_runs(world)
    later(monkeypatch, 1)
    assert "the next look is 0:02:00 after that" in skipped(tick(world))
    later(monkeypatch, 2)
    assert isinstance(tick(world), dg.RunRequest)


def test_a_commit_is_looked_at_every_ten_minutes_until_it_is_revealed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.chain.metagraph = replace(world.chain.metagraph, commit_reveal=True)
    world.store_round("c-1", {"hotkey-1": True})
    world.set_weights()
    without_runs(world)
    later(monkeypatch, 3)
    assert "the next look is 0:10:00 after that" in skipped(tick(world))
    later(monkeypatch, 10)
    assert isinstance(tick(world), dg.RunRequest)
    world.chain.reveal()
    world.set_weights("weight_receipts")
    assert "are observed" in skipped(tick(world))


@pytest.mark.parametrize("job", [set_weights.name, read_receipts.name])
def test_beside_a_run_that_reads_or_sets_them_none_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    world.chain.metagraph = replace(world.chain.metagraph, commit_reveal=True)
    world.store_round("c-1", {"hotkey-1": True})
    world.set_weights()
    without_runs(world)
    later(monkeypatch, 10)
    run = world.add_run(job, dg.DagsterRunStatus.STARTED)
    assert skipped(tick(world)).startswith(f"run {run.run_id} is under way")
