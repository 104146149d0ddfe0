"""From stored scores to weights on the chain, and reading them back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loosh_pipeline.chain.port import ERA_BLOCKS
from loosh_pipeline.chain.readiness import FIRST_RETRY_BLOCKS, REORG_BLOCKS
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.chain.weights import matches
from loosh_pipeline.domain import Emission, Outcome
from loosh_pipeline.errors import ChainError, NotSubmitted
from loosh_pipeline.policy.checks import CHECKS
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.store.frames import emissions_of
from loosh_pipeline.store.leases import Lease, Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from tests.world import World, checks_of, failure_of, metadata_of, newest_submission


def emissions_by_hotkey(world: World) -> dict[str, Emission]:
    frame = world.store.tables.latest("emissions")
    assert frame is not None
    return {emission.hotkey: emission for emission in emissions_of(frame)}


def test_payouts_become_the_weights_worked_out_by_hand(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True, "hotkey-3": False})
    world.store_round("c-2", {"hotkey-1": True, "hotkey-2": Outcome.TIMEOUT, "hotkey-4": True})
    result = world.set_weights()

    assert result.success
    emissions = emissions_by_hotkey(world)
    # mean payout · rounds / 2, the most that a quarter of them have: 1 · 1, 1/2 · 1, 0 and 1 · 1/2; together 2
    assert {h: e.emission for h, e in emissions.items()} == pytest.approx(
        {"hotkey-1": 1.0, "hotkey-2": 0.5, "hotkey-3": 0.0, "hotkey-4": 0.5}, rel=1e-5
    )
    assert {h: e.weight for h, e in emissions.items()} == pytest.approx(
        {"hotkey-1": 1 / 2, "hotkey-2": 1 / 4, "hotkey-3": 0.0, "hotkey-4": 1 / 4}
    )
    second = emissions["hotkey-2"]
    assert (second.asked, second.answered, second.paid, second.mean_payout) == (2, 1, 1, pytest.approx(0.5))

    (plan,) = world.chain.submitted
    assert plan.weights == pytest.approx({1: 1 / 2, 2: 1 / 4, 4: 1 / 4})
    assert plan.dropped == {"hotkey-3": "weight is 0"}
    assert metadata_of(result, "weights")["included_block"] == 101
    assert metadata_of(result, "weight_receipts")["state"] == "observed"
    assert matches(plan, world.chain.observe(78, world.chain.hotkey))
    warning = ("all_sealed", "shadow_moves_little", "weights_in_time", "weights_on_chain")
    assert checks_of(result) == dict.fromkeys(("sound", *CHECKS, *warning), True)


def test_a_rescored_challenge_counts_once_and_by_the_version_that_pays(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": True})
    for gate in (0.4, 0.5):
        world.store_round("c-1", {"hotkey-1": True, "hotkey-2": False}, profile=RobustProfile(relevance_gate=gate))
    world.set_weights("emissions")
    emissions = emissions_by_hotkey(world)
    assert [(e.asked, e.mean_payout, e.weight) for e in emissions.values()] == [(1, 1.0, 0.5)] * 2


def test_a_challenge_that_only_other_versions_scored_counts_by_the_one_used_last(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": False, "hotkey-2": True}, profile=RobustProfile(relevance_gate=0.4))
    world.store_round("c-1", {"hotkey-1": True, "hotkey-2": False}, profile=RobustProfile(relevance_gate=0.5))
    world.set_weights("emissions")
    assert {h: (e.asked, e.mean_payout) for h, e in emissions_by_hotkey(world).items()} == {
        "hotkey-1": (1, 1.0),
        "hotkey-2": (1, 0.0),
    }


def test_rounds_before_the_lookback_do_not_count(world: World) -> None:
    lookback = timedelta(hours=world.settings.emissions_lookback_h)
    world.store_round("c-1", {"hotkey-1": True}, age=lookback - timedelta(minutes=5))
    world.store_round("c-2", {"hotkey-1": True, "hotkey-2": True}, age=lookback + timedelta(minutes=5))
    world.set_weights("emissions")
    assert {h: e.asked for h, e in emissions_by_hotkey(world).items()} == {"hotkey-1": 1}


def test_failed_asks_count_as_nothing_earned(world: World) -> None:
    for number, outcome in enumerate(outcome for outcome in Outcome if outcome is not Outcome.ANSWERED):
        world.store_round(f"c-{number}", {"hotkey-1": outcome, "hotkey-2": True})
    world.set_weights("emissions")
    emissions = emissions_by_hotkey(world)
    failed = len(Outcome) - 1
    assert (emissions["hotkey-1"].asked, emissions["hotkey-1"].answered, emissions["hotkey-1"].weight) == (failed, 0, 0)
    assert emissions["hotkey-1"].last_answered_at is None
    assert emissions["hotkey-2"].mean_payout == 1.0


@pytest.mark.parametrize("answers", [{}, {"hotkey-1": False, "hotkey-2": Outcome.TIMEOUT}])
def test_when_nobody_earned_the_weights_stay_as_they_are(world: World, answers: dict[str, bool | Outcome]) -> None:
    if answers:
        world.store_round("c-1", answers)
    result = world.set_weights(raise_on_error=False)

    assert not result.success
    assert checks_of(result)["not_all_zero"] is False
    assert world.chain.submitted == []
    assert world.store.tables.latest("weights") is None


def test_weights_materialized_alone_are_checked_too(world: World) -> None:
    result = world.set_weights("weights", raise_on_error=False)
    assert "nothing was ever proposed" in failure_of(result)
    world.store_round("c-1", {"hotkey-1": False})
    world.set_weights("emissions", "weight_proposal", raise_on_error=False)
    result = world.set_weights("weights", raise_on_error=False)
    assert not result.success
    assert "not_all_zero" in failure_of(result)
    assert world.chain.submitted == []


def test_within_the_rate_limit_nothing_is_submitted_and_the_run_says_why(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    assert world.set_weights().success
    result = world.set_weights()

    assert result.success
    assert len(world.chain.submitted) == 1
    said = metadata_of(result, "weights")["skipped"]
    assert said == (
        "weights were set at block 101, 0 blocks before block 101; "
        "the chain's rate limit is 5 blocks, so they are due at block 106"
    )
    assert metadata_of(result, "weight_receipts")["state"] == "observed"


def test_a_validator_without_permit_submits_nothing(world: World) -> None:
    own, *others = world.chain.metagraph.neurons
    world.chain.metagraph = replace(world.chain.metagraph, neurons=(replace(own, validator_permit=False), *others))
    world.store_round("c-1", {"hotkey-1": True})
    result = world.set_weights()
    assert "has no validator permit" in metadata_of(result, "weights")["skipped"]
    assert world.chain.submitted == []
    assert metadata_of(result, "weight_receipts")["state"] == "nothing was submitted yet"


def test_what_the_chain_refuses_fails_the_run_with_its_reason_and_is_kept(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.refuse("not_authorized", "the validator permit is gone")
    result = world.set_weights(raise_on_error=False)

    assert not result.success
    assert "the chain refused the weights: not_authorized: the validator permit is gone" in failure_of(result)
    kept = world.store.tables.latest("weights")
    assert kept is not None
    assert (kept["success"][0], kept["error_code"][0]) == (False, "not_authorized")
    assert world.store.tables.latest("weight_receipts") is None


def test_refused_weights_are_not_looked_for_on_the_chain(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.refuse("not_authorized", "the validator permit is gone")
    world.set_weights(raise_on_error=False)
    result = world.set_weights("weight_receipts")
    assert metadata_of(result, "weight_receipts")["state"] == "refused"


def test_a_chain_that_breaks_off_fails_the_run_and_is_read_before_the_next_try(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("sending", ChainError("whether 0xab was included is unknown; read last_update"))
    result = world.set_weights(raise_on_error=False)
    assert "whether 0xab was included is unknown" in failure_of(result)
    kept = world.store.tables.latest("weights")
    assert kept is not None
    assert (kept["success"][0], kept["state"][0]) == (False, "unknown"), "the plan is known, its outcome is not"

    waiting = world.set_weights()
    said = metadata_of(waiting, "weights")
    assert said["code"] == "submission_open"
    assert f"may still be before block {100 + ERA_BLOCKS + REORG_BLOCKS}" in said["skipped"]
    assert metadata_of(waiting, "weight_receipts")["state"] == "unknown"
    assert checks_of(waiting)["weights_on_chain"] is False
    assert world.chain.submitted == [], "never twice while the first may still be included"

    world.chain.advance(ERA_BLOCKS + REORG_BLOCKS)
    settled = metadata_of(world.set_weights("weight_receipts"), "weight_receipts")
    assert settled["state"] == "expired"
    assert metadata_of(world.set_weights(), "weights")["code"] == "retry_later"
    world.chain.advance(FIRST_RETRY_BLOCKS)
    assert metadata_of(world.set_weights(), "weight_receipts")["state"] == "observed"
    assert len(world.chain.submitted) == 1


def test_a_run_killed_after_its_weights_were_included_is_settled_by_the_chain(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("sending", ChainError("the process was killed"))
    world.set_weights(raise_on_error=False)
    world.chain.include(newest_submission(world).plan)  # it had reached the chain after all
    result = world.set_weights("weight_receipts")
    assert metadata_of(result, "weight_receipts")["state"] == "observed"
    assert newest_submission(world).included_block == 101


def test_what_was_never_sent_is_tried_again_some_blocks_later(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("submit_weights", NotSubmitted("no endpoint served"))
    assert "no endpoint served" in failure_of(world.set_weights(raise_on_error=False))
    row = newest_submission(world)
    assert (row.state, row.error_code, row.extrinsic_hash) == ("expired", "not_submitted", None)
    assert metadata_of(world.set_weights(), "weights")["due_block"] == 100 + FIRST_RETRY_BLOCKS
    world.chain.advance(FIRST_RETRY_BLOCKS)
    assert metadata_of(world.set_weights(), "weight_receipts")["state"] == "observed"


def test_the_chains_own_word_on_the_rate_limit_is_a_skip(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.refuse("rate_limited", "Retry in ~3 blocks")
    result = world.set_weights()
    assert result.success
    assert metadata_of(result, "weights")["code"] == "rate_limited"
    assert metadata_of(result, "weight_receipts")["state"] == "nothing was submitted yet"
    assert checks_of(result)["weights_on_chain"] is True, "it is no alert"
    assert newest_submission(world).state == "not_due"
    assert metadata_of(world.set_weights(), "weight_receipts")["state"] == "observed", "and no failure to wait after"


@pytest.mark.parametrize("cut_off", [ERA_BLOCKS + REORG_BLOCKS, ERA_BLOCKS])
def test_a_row_that_can_never_be_read_holds_weights_up_only_while_it_may_still_land(world: World, cut_off: int) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("sending", ChainError("lost"))
    world.set_weights(raise_on_error=False)
    world.chain.advance(cut_off)
    world.chain.fail("observe", ChainError("there is no storage Weights"))
    dead = cut_off > ERA_BLOCKS
    result = world.set_weights(raise_on_error=False)
    assert result.success is dead
    assert newest_submission(world).state == ("expired" if dead else "unknown")
    if dead:
        assert metadata_of(result, "weights")["code"] == "retry_later"
        world.chain.advance(FIRST_RETRY_BLOCKS)
        assert metadata_of(world.set_weights(), "weight_receipts")["state"] == "observed"


def test_weights_that_landed_and_can_never_be_read_hold_nothing_up(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("observe", ChainError("there is no storage Weights"))
    world.set_weights(raise_on_error=False)
    assert newest_submission(world).state == "included"
    world.chain.advance(ERA_BLOCKS + REORG_BLOCKS)
    world.chain.fail("observe", ChainError("there is no storage Weights"))
    assert world.set_weights().success
    assert len(world.chain.submitted) == 2
    rows = world.store.weight_ledger.recent(78, world.chain.hotkey)
    assert [row.state for row in rows] == ["observed", "observed"]


def overtaken_at(world: World, monkeypatch: pytest.MonkeyPatch, state: SubmissionState) -> None:
    """Let another writer take the lease just before a submission is recorded as in this state."""
    move = Submissions.move

    def after_another(
        self: Submissions, lease: Lease, row: SubmissionRow, to: SubmissionState, *args: Any, **facts: Any
    ) -> SubmissionRow:
        if to is state:
            later = datetime.now(UTC) + timedelta(days=1)
            Leases(world.store.inbox.engine).take(LEASE, "another", later, timedelta(minutes=5))
        return move(self, lease, row, to, *args, **facts)

    monkeypatch.setattr(Submissions, "move", after_another)


def test_who_is_overtaken_after_sending_says_that_weights_were_sent_w_25(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    overtaken_at(world, monkeypatch, SubmissionState.INCLUDED)
    said = failure_of(world.set_weights(raise_on_error=False))
    assert "weights were sent (0x" in said
    assert "was overtaken" in said
    assert newest_submission(world).state == "sending"
    assert world.store.tables.latest("weights") is None, "the record is another's now"


def test_who_is_overtaken_before_sending_sends_nothing_w_25(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    overtaken_at(world, monkeypatch, SubmissionState.SENDING)
    assert metadata_of(world.set_weights(), "weights")["code"] == "another_writer"
    assert world.chain.submitted == []
    assert newest_submission(world).state == "planned"


@pytest.mark.parametrize("state", [SubmissionState.UNKNOWN, None])
def test_what_goes_wrong_afterwards_does_not_hide_why_sending_broke_off(
    world: World, monkeypatch: pytest.MonkeyPatch, state: SubmissionState | None
) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.fail("sending", ChainError("the node is gone"))
    if state is None:
        monkeypatch.setattr("resources.store.write_submission", lambda *_: 1 / 0)
    else:
        overtaken_at(world, monkeypatch, state)
    assert "the node is gone" in failure_of(world.set_weights(raise_on_error=False))


def test_another_writer_is_waited_for_w_25(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    with world.store.desk(world.chain, "another run"):
        result = world.set_weights()
    assert result.success
    said = metadata_of(result, "weights")
    assert said["code"] == "another_writer"
    assert "another run writes weights until" in said["skipped"]
    assert world.chain.submitted == []


def test_an_old_proposal_is_not_submitted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.set_weights("emissions", "weight_proposal")
    monkeypatch.setattr("assets.weights.utc_now", lambda: datetime.now(UTC) + timedelta(hours=2))
    result = world.set_weights("weights", raise_on_error=False)
    assert "recent: not of this hour: the proposal of" in failure_of(result)
    assert world.chain.submitted == []


def test_too_little_stake_is_known_before_anything_is_signed_w_24(world: World) -> None:
    world.store_round("c-1", {"hotkey-1": True})
    world.chain.metagraph = replace(world.chain.metagraph, stake_threshold=2.5)
    result = world.set_weights()
    assert metadata_of(result, "weights")["code"] == "low_stake"
    assert world.chain.submitted == []
