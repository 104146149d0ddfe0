"""What became of weights: commits, slots that changed hands, and what is to be looked at."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg

from loosh_pipeline.chain.alerts import alerts
from loosh_pipeline.chain.readiness import FIRST_RETRY_BLOCKS
from loosh_pipeline.domain import Block, Emission, Hotkey, RuleAct
from loosh_pipeline.errors import ConfigError
from tests.world import World, checks_of, metadata_of


def test_weights_that_left_the_chain_are_reported_missing(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True})
    assert world.set_weights("emissions", "weight_proposal", "weights").success
    others = (Emission("hotkey-3", 1, 1, 1, 1.0, 1.0, 1.0),)
    foreign = replace(world.chain.submitted[0], weights={3: others[0].weight}, hotkeys={3: "hotkey-3"})
    world.chain.include(foreign)

    result = world.set_weights("weight_receipts")
    assert metadata_of(result, "weight_receipts")["state"] == "missing"
    assert checks_of(result) == {"weights_on_chain": False}
    receipts = world.store.tables.latest("weight_receipts")
    assert receipts is not None
    assert receipts.select("uid", "planned", "observed", "uid_state").rows() == [
        (1, 0.5, 0.0, "missing"),
        (2, 0.5, 0.0, "missing"),
        (3, 0.0, 1.0, "not ours"),
    ]
    assert "other weights took its place at block 102" in receipts["reason"][0]


def test_commits_are_committed_until_revealed(world: World) -> None:
    world.chain.metagraph = replace(world.chain.metagraph, commit_reveal=True)
    world.store_round("c-1", {"hotkey-1": True})
    result = world.set_weights()
    assert metadata_of(result, "weight_receipts")["state"] == "committed"
    assert checks_of(result)["weights_on_chain"] is True

    world.chain.reveal()
    revealed = world.set_weights("weight_receipts")
    assert metadata_of(revealed, "weight_receipts")["state"] == "observed"


def test_a_commit_that_is_not_revealed_is_an_alert_and_is_tried_again(world: World) -> None:
    world.chain.metagraph = replace(world.chain.metagraph, commit_reveal=True)
    world.store_round("c-1", {"hotkey-1": True})
    world.set_weights()
    world.chain.epoch = 1
    assert metadata_of(world.set_weights("weight_receipts"), "weight_receipts")["state"] == "committed"
    world.chain.epoch = 2
    result = world.set_weights("weight_receipts")
    assert metadata_of(result, "weight_receipts")["state"] == "unrevealed"
    assert checks_of(result)["weights_on_chain"] is False
    world.chain.advance(FIRST_RETRY_BLOCKS)
    assert metadata_of(world.set_weights(), "weight_receipts")["state"] == "committed"
    assert len(world.chain.submitted) == 2


def test_commits_may_overlap_and_each_is_followed_to_its_end(world: World) -> None:
    world.chain.metagraph = replace(world.chain.metagraph, commit_reveal=True)
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True})
    world.set_weights()
    world.chain.advance(10)
    world.store_round("c-2", {"hotkey-1": True, "hotkey-2": True, "hotkey-3": True})
    world.set_weights()
    assert states(world) == ["committed", "committed"]
    world.chain.reveal()
    world.set_weights("weight_receipts")
    assert states(world) == ["observed", "superseded"]


def test_commits_that_overlap_and_are_never_revealed_are_told_one_by_one(world: World) -> None:
    world.chain.metagraph = replace(world.chain.metagraph, commit_reveal=True, reveal_period_epochs=3)
    world.store_round("c-1", {"hotkey-1": True})
    for world.chain.epoch in range(5):
        world.chain.sealed = [each for each in world.chain.sealed if each[1].epoch >= world.chain.epoch - 3]
        result = world.set_weights()
        world.chain.advance(10)
    assert states(world) == ["committed"] * 4 + ["unrevealed"]
    assert warnings_of(result, "weights_on_chain") == {"weights_unrevealed"}


def states(world: World) -> list[str]:
    return [row.state.value for row in world.store.weight_ledger.recent(78, world.chain.hotkey)]


def test_the_same_weights_as_before_are_not_taken_for_revealed(world: World) -> None:
    """The row showed them before the commit too; what counts is that the commit no longer waits."""
    world.store_round("c-1", {"hotkey-1": True})
    world.set_weights()
    world.chain.advance(10)
    world.chain.metagraph = replace(world.chain.metagraph, commit_reveal=True)
    assert metadata_of(world.set_weights(), "weight_receipts")["state"] == "committed"


def test_a_weight_whose_slot_changed_hands_is_recycled(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True, "hotkey-3": True})
    world.set_weights()
    own, first, second, *rest = world.chain.metagraph.neurons
    newcomers = (
        replace(first, hotkey="newcomer", registered_block=Block(102)),
        replace(second, registered_block=Block(102)),
    )
    world.chain.metagraph = replace(world.chain.metagraph, neurons=(own, *newcomers, *rest))
    assert metadata_of(world.set_weights("weight_receipts"), "weight_receipts")["recycled"] == 2
    receipts = world.store.tables.latest("weight_receipts")
    assert receipts is not None
    assert receipts.select("uid", "uid_state").rows() == [(1, "recycled"), (2, "recycled"), (3, "observed")]


def test_a_hotkey_that_left_the_subnet_is_dropped_and_named(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True, "gone": True})
    result = world.set_weights()
    (plan,) = world.chain.submitted
    assert plan.weights == {1: 1.0}
    assert metadata_of(result, "weights")["dropped"] == {}, "the policy had left it out before"
    proposal = world.store.newest_proposal()
    assert proposal is not None
    assert proposal.shares == {"hotkey-1": 1.0}
    assert proposal.acts == (RuleAct("registered", "gone", 0.5, 0.0, "not registered on subnet 78 at block 100"),)
    assert world.chain.metagraph.block == Block(101)


def test_a_slot_that_was_recycled_after_the_proposal_pays_nobody(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True})
    world.set_weights("emissions", "weight_proposal")
    own, first, *others = world.chain.metagraph.neurons
    newcomer = replace(first, hotkey=Hotkey("newcomer"), registered_block=Block(100))
    world.chain.metagraph = replace(world.chain.metagraph, neurons=(own, newcomer, *others))
    result = world.set_weights("weights")
    assert result.success
    (plan,) = world.chain.submitted
    assert plan.hotkeys == {2: "hotkey-2"}
    left_out = world.store.tables.latest("weights_dropped")
    assert left_out is not None
    assert left_out.select("hotkey", "reason", "block").rows() == [
        ("hotkey-1", "not registered on subnet 78 at block 100", 100)
    ]


def warnings_of(result: dg.ExecuteInProcessResult, check: str) -> set[str]:
    """The alerts that a check warns of."""
    (found,) = (each for each in result.get_asset_check_evaluations() if each.check_name == check)
    assert found.severity is dg.AssetCheckSeverity.WARN
    return set() if found.passed else set(str(found.metadata["alerts"].value).split(", "))


def test_alerts_are_warnings_beside_the_assets_they_concern(world: World) -> None:
    own, *others = world.chain.metagraph.neurons
    late = replace(own, last_update=Block(1))
    world.chain.metagraph = replace(world.chain.metagraph, neurons=(late, *others), block=Block(4100))
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.refuse("not_authorized", "the permit is gone")
    failed = world.set_weights(raise_on_error=False)
    assert not failed.success
    read = world.set_weights("weight_receipts")
    assert warnings_of(read, "weights_on_chain") == {"weights_refused"}
    world.chain.advance(1)
    skipped = world.set_weights()
    assert warnings_of(skipped, "weights_in_time") == {"mode_degraded"}


def test_another_runtime_is_a_warning_at_the_metagraph(world: World) -> None:
    seen = [world.refresh_metagraph()]
    world.chain.metagraph = replace(world.chain.metagraph, spec_version=462, stake_threshold=9.0)
    seen.append(world.refresh_metagraph())
    assert [warnings_of(each, "validator_in_order") for each in seen] == [set(), {"spec_version_changed", "low_stake"}]


def test_without_a_wallet_the_subnet_is_still_seen(world: World) -> None:
    world.chain.fail("identity", ConfigError("there is no hotkey file"))
    result = world.refresh_metagraph()
    assert result.success
    assert warnings_of(result, "validator_in_order") == {"no_hotkey"}


def test_what_keeps_a_proposal_from_being_set_is_told_until_another_is_set(world: World) -> None:
    own = world.chain.hotkey
    world.store_round("c-1", {"hotkey-1": False})
    assert not world.set_weights(raise_on_error=False).success
    assert {line.partition(":")[0] for line in world.store.standing(own).blocked} == {"not_all_zero", "enough_miners"}
    assert "weights_blocked" in {alert.code for alert in alerts(world.store.standing(own))}
    world.store_round("c-2", {"hotkey-1": True})
    assert world.set_weights().success
    assert world.store.standing(own).blocked == ()


def test_what_was_stored_before_the_weights_does_not_hide_them(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    assert world.set_weights().success
    seen = world.store.newest_metagraph()
    assert seen is not None
    assert seen.by_hotkey()[world.chain.hotkey].last_update == 0
    standing = world.store.standing(world.chain.hotkey)
    assert standing.own is not None
    assert (standing.own.last_update, standing.subnet and standing.subnet.block) == (101, 101)
