from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loosh_pipeline.chain.records import SubmissionRow, SubmissionState, plan_digest
from loosh_pipeline.chain.settlement import recycled, settle, settle_unread
from loosh_pipeline.domain import Block, Commit, Hotkey, ObservedWeights, Uid, WeightPlan
from tests.builders import metagraph, neuron, submission_row

OWN = Hotkey("hotkey-0")
OURS = {Uid(1): 0.75, Uid(2): 0.25}
DEAD = 164
"""The block from which none can hold it, once that is final."""


def seen(
    block: int = 110, last_update: int = 50, weights: dict[Uid, float] | None = None, **more: Any
) -> ObservedWeights:
    return ObservedWeights(OWN, Uid(0), Block(block), Block(last_update), weights or {}, **more)


@pytest.mark.parametrize(
    ("row", "observed", "state"),
    [
        # the outcome was lost
        ({}, seen(last_update=103, weights=OURS), "observed"),
        ({}, seen(), "unknown"),
        ({}, seen(block=DEAD - 1), "unknown"),
        ({}, seen(block=DEAD), "expired"),
        ({}, seen(last_update=103, weights={Uid(3): 1.0}), "unknown"),
        ({}, seen(block=DEAD, last_update=103, weights={Uid(3): 1.0}), "missing"),
        # the same weights as before: the row shows them, and it is not they
        ({}, seen(weights=OURS), "unknown"),
        # it was included
        ({"included_block": 103}, seen(last_update=103, weights=OURS), "observed"),
        ({"included_block": 103}, seen(last_update=103, weights={Uid(3): 1.0}), "missing"),
        ({"included_block": 103}, seen(last_update=109, weights={Uid(3): 1.0}), "missing"),
        # and a reorganisation took it out
        ({"included_block": 103}, seen(last_update=50), "included"),
        ({"included_block": 103, "state": "observed"}, seen(last_update=50), "included"),
        ({"included_block": 103}, seen(block=DEAD, last_update=50), "expired"),
        # the block that holds it is not final yet
        ({"included_block": 111, "state": "included"}, seen(), "included"),
        ({"included_block": 111, "state": "included"}, seen(weights=OURS), "included"),
        # the record is that of an old backup: the chain has had other weights of ours since
        ({"included_block": 103, "state": "observed"}, seen(5000, 4900, weights={Uid(3): 1.0}), "missing"),
        # nothing was signed
        ({"state": "planned", "dies_at": None}, seen(), "expired"),
        # what is certain stays
        ({"state": "refused"}, seen(last_update=103, weights=OURS), "refused"),
        ({"state": "not_due", "dies_at": None}, seen(last_update=103, weights=OURS), "not_due"),
        # what failed within a block may have been let through after a reorganisation
        ({"state": "refused", "included_block": 103}, seen(), "refused"),
        ({"state": "refused", "included_block": 103}, seen(last_update=104, weights=OURS), "observed"),
    ],
)
def test_plain_weights(row: dict[str, Any], observed: ObservedWeights, state: str) -> None:
    row = row | {"state": SubmissionState(row.get("state", "sending"))}
    verdict = settle(submission_row(**row), observed)
    assert verdict.state == state
    assert verdict.reason or state in ("refused", "not_due")


def commit(epoch: int = 7, reveal_round: int = 900, block: int = 103) -> tuple[Commit, ...]:
    return (Commit(epoch, Block(block), reveal_round),)


@pytest.mark.parametrize(
    ("row", "observed", "state", "reveal_epoch"),
    [
        ({}, seen(last_update=103, commits=commit(), epoch=7), "committed", 8),
        ({}, seen(last_update=103, commits=commit(), epoch=8), "committed", 8),
        ({}, seen(last_update=103, commits=commit(), epoch=9), "unrevealed", 8),
        # the row shows the same weights already, from before: what counts is that the commit still waits
        ({}, seen(last_update=103, commits=commit(), epoch=7, weights=OURS), "committed", 8),
        # another's round, or an older commit of ours
        ({}, seen(last_update=103, commits=commit(reveal_round=901), epoch=7), "unknown", None),
        ({}, seen(last_update=103, commits=commit(block=90), epoch=7), "unknown", None),
        (
            {"state": "committed", "included_block": 103, "reveal_epoch": 8},
            seen(200, 103, OURS, epoch=8),
            "observed",
            8,
        ),
        ({"state": "committed", "included_block": 103, "reveal_epoch": 8}, seen(200, 103, epoch=8), "unrevealed", 8),
        ({"state": "committed", "included_block": 103}, seen(120, 50, epoch=7), "included", None),
    ],
)
def test_committed_weights(
    row: dict[str, Any], observed: ObservedWeights, state: str, reveal_epoch: int | None
) -> None:
    row = row | {"state": SubmissionState(row.get("state", "sending"))}
    verdict = settle(submission_row(commit_reveal=True, reveal_round=900, **row), observed)
    assert (verdict.state, verdict.reveal_epoch) == (state, reveal_epoch)


def committed(block: int, reveal_round: int, **fields: Any) -> SubmissionRow:
    """A commit of `OURS`, or of `weights`, of some block."""
    weights = fields.pop("weights", OURS)
    plan = WeightPlan(78, Block(block), weights, {uid: Hotkey(f"hotkey-{uid}") for uid in weights}, 0)
    row = {"state": SubmissionState.COMMITTED, "included_block": Block(block + 3), "dies_at": Block(block + 64)}
    return submission_row(plan=plan, commit_reveal=True, reveal_round=reveal_round, **(row | fields))


OTHERS = {Uid(3): 1.0}


def test_a_commit_is_superseded_only_by_one_that_was_revealed() -> None:
    row, following = committed(100, 900), committed(200, 901, weights=OTHERS)
    revealed = seen(300, 203, OTHERS, epoch=9)
    assert settle(row, revealed, [following]).state == "superseded"
    assert settle(row, revealed).state == "unrevealed"
    still_waits = seen(300, 203, OTHERS, epoch=9, commits=commit(8, 901, 203))
    assert settle(row, still_waits, [following]).state == "unrevealed", "the row shows the same from before"
    old = seen(300, 203, {Uid(4): 1.0}, epoch=9)
    assert settle(row, old, [following]).state == "unrevealed"
    shown_before = committed(200, 901, weights=OTHERS, state=SubmissionState.OBSERVED)
    assert settle(row, old, [shown_before]).state == "superseded"
    waiting = seen(300, 203, OTHERS, commits=commit(), epoch=9)
    assert settle(row, waiting, [following]).state == "unrevealed", "it still waits, after its epoch"


def test_with_a_period_of_three_epochs_every_reveal_that_fails_is_told() -> None:
    rows: list[SubmissionRow] = []
    for epoch in range(4, 12):
        rows.insert(0, committed(100 * epoch, epoch, reveal_period_epochs=3))
        listed = tuple(Commit(each, Block(100 * each + 3), each) for each in range(max(4, epoch - 3), epoch + 1))
        now = seen(100 * epoch + 50, 100 * epoch + 3, {Uid(9): 1.0}, epoch=epoch, commits=listed)
        verdicts = [settle(row, now, rows[:place]).state for place, row in enumerate(rows)]
        assert verdicts == ["committed"] * min(len(rows), 4) + ["unrevealed"] * (len(rows) - 4)


def test_an_unknown_commit_that_is_gone_when_it_is_first_looked_for_was_ours() -> None:
    row = committed(100, 900, state=SubmissionState.UNKNOWN, included_block=None)
    found = settle(row, seen(DEAD + 300, 120, epoch=12))
    assert (found.state, found.included_block) == ("unrevealed", 120)
    assert settle(row, seen(DEAD + 300, DEAD + 1, epoch=12)).state == "missing", "ours could not be in that block"
    assert settle(row, seen(DEAD + 300, 90, epoch=12)).state == "expired"
    following = committed(200, 901, weights=OTHERS)
    assert settle(row, seen(DEAD + 300, 203, epoch=12), [following]).state == "superseded", "nobody can say any more"


def test_plain_weights_that_later_ones_of_ours_replaced_are_no_second_validator() -> None:
    row = submission_row(state=SubmissionState.INCLUDED, included_block=Block(103))
    plan = WeightPlan(78, Block(200), OTHERS, {Uid(3): Hotkey("hotkey-3")}, 0)
    following = submission_row(plan=plan, state=SubmissionState.INCLUDED, included_block=Block(203))
    assert settle(row, seen(210, 203, OTHERS), [following]).state == "superseded"
    assert settle(row, seen(210, 203, OTHERS)).state == "missing"


def test_revealed_weights_that_others_took_the_place_of_are_missing_not_unrevealed() -> None:
    row = committed(100, 900, state=SubmissionState.OBSERVED)
    found = settle(row, seen(900, 700, OTHERS, epoch=12))
    assert found.state == "missing"
    assert "second validator" in found.reason


def test_a_period_that_the_owner_makes_longer_is_waited_for() -> None:
    row = committed(100, 900)
    waiting = seen(300, 103, commits=commit(), epoch=10)
    assert settle(row, waiting).state == "unrevealed"
    found = settle(row, replace(waiting, reveal_period_epochs=4))
    assert (found.state, found.reveal_epoch) == ("committed", 11)


def test_where_the_runtime_does_not_list_commits_nothing_is_concluded_from_that() -> None:
    unsaid = seen(300, 103, OTHERS, commits=None)
    assert settle(committed(100, 900), unsaid).state == "committed"
    assert settle(committed(100, 900, state=SubmissionState.UNKNOWN, included_block=None), unsaid).state == "included"
    assert settle(committed(100, 900), replace(unsaid, weights=OURS)).state == "observed"


@pytest.mark.parametrize(
    "gone",
    [
        ObservedWeights(OWN, None, Block(110), Block(0), {}),
        seen(last_update=108, registered={Uid(0): Block(108)}),
    ],
)
@pytest.mark.parametrize("state", ["sending", "included", "committed", "observed"])
def test_a_hotkey_that_lost_its_slot_is_told_as_that(gone: ObservedWeights, state: str) -> None:
    found = settle(submission_row(state=SubmissionState(state), included_block=Block(103)), gone)
    assert found.state == "unregistered"
    assert "has lost the uid" in found.reason


def test_a_slot_that_is_newer_than_what_is_final_is_not_lost() -> None:
    just_registered = ObservedWeights(OWN, None, Block(98), Block(0), {})
    assert settle(submission_row(included_block=Block(101)), just_registered).state == "included"


def test_a_reorganisation_may_put_it_into_another_block() -> None:
    row = submission_row(state=SubmissionState.INCLUDED, included_block=Block(103))
    assert settle(row, seen(last_update=104, weights=OURS)).included_block == 104
    assert settle(row, seen(200, 190, OURS)).included_block == 103, "somebody else set the same"


def test_when_every_slot_changed_hands_there_is_nothing_to_go_by() -> None:
    hotkeys = {Uid(1): Hotkey("newcomer"), Uid(2): Hotkey("another")}
    found = settle(submission_row(included_block=Block(103)), seen(last_update=103, hotkeys=hotkeys))
    assert found.state == "missing"
    assert "every uid of it has changed hands" in found.reason


@pytest.mark.parametrize(
    ("state", "last_update", "becomes"),
    [
        ("unknown", 100, "expired"),
        ("unknown", 101, "unknown"),
        ("committed", 103, "committed"),
        ("planned", 90, "expired"),
    ],
)
def test_by_a_snapshot_alone_only_what_is_in_no_block_is_settled(state: str, last_update: int, becomes: str) -> None:
    subnet = metagraph((neuron(0, last_update=Block(last_update)),), block=Block(300))
    assert settle_unread(submission_row(state=SubmissionState(state)), subnet).state == becomes


def test_a_slot_that_changed_hands_is_recycled() -> None:
    plan = WeightPlan(78, Block(100), {1: 0.5, 2: 0.5, 3: 0.5}, {1: "a", 2: "b", 3: "c"}, 0)
    hotkeys, registered = {1: "a", 2: "newcomer", 3: "c"}, {1: 100, 2: 40, 3: 101}
    assert recycled(plan, seen(hotkeys=hotkeys, registered=registered)) == {2, 3}
    assert recycled(plan, seen()) == frozenset(), "nothing is said of slots that were not read"


def test_weights_that_the_chain_took_out_with_their_slot_are_not_missing() -> None:
    hotkeys = {Uid(1): Hotkey("newcomer"), Uid(2): Hotkey("hotkey-2")}
    row = submission_row(included_block=Block(103))
    assert settle(row, seen(last_update=103, weights={Uid(2): 1.0}, hotkeys=hotkeys)).state == "observed"
    assert settle(row, seen(last_update=103, weights={Uid(2): 1.0})).state == "missing", "nobody took that slot"
    strange = {Uid(2): 0.5, Uid(9): 0.5}
    assert settle(row, seen(last_update=103, weights=strange, hotkeys=hotkeys)).state == "missing"


def test_the_digest_is_of_what_is_signed() -> None:
    one = WeightPlan(78, Block(100), {1: 0.5, 2: 0.25}, {1: "a", 2: "b"}, 0)
    same = WeightPlan(78, Block(900), {2: 1.0, 1: 2.0}, {1: "x", 2: "y"}, 0)
    assert plan_digest(one) == plan_digest(same)
    others = [WeightPlan(78, Block(100), {1: 0.5, 2: 0.24}, {}, 0), WeightPlan(78, Block(100), one.weights, {}, 1)]
    assert plan_digest(one) not in {plan_digest(other) for other in others}


def test_what_failed_within_a_block_is_open_until_that_block_is_final() -> None:
    refused = {"state": SubmissionState.REFUSED, "included_block": Block(103)}
    assert [submission_row(seen_block=Block(seen), **refused).is_open for seen in (102, 103, 104)] == [
        True,
        True,
        False,
    ]
    assert not submission_row(state=SubmissionState.REFUSED).is_open, "the pool refused it"
