from __future__ import annotations

from typing import Any

import pytest

from loosh_pipeline.chain.readiness import REORG_BLOCKS
from loosh_pipeline.chain.records import SubmissionState, plan_digest
from loosh_pipeline.chain.settlement import recycled, settle
from loosh_pipeline.domain import Block, Commit, Hotkey, ObservedWeights, Uid, WeightPlan
from tests.builders import submission_row

OWN = Hotkey("hotkey-0")
OURS = {Uid(1): 0.75, Uid(2): 0.25}
DEAD = 164 + REORG_BLOCKS


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
        # nothing was signed
        ({"state": "planned", "dies_at": None}, seen(), "expired"),
        # what is certain stays
        ({"state": "refused"}, seen(last_update=103, weights=OURS), "refused"),
    ],
)
def test_plain_weights(row: dict[str, Any], observed: ObservedWeights, state: str) -> None:
    row = row | {"state": SubmissionState(row.get("state", "sending"))}
    verdict = settle(submission_row(**row), observed)
    assert verdict.state == state
    assert verdict.reason or state == "refused"


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


def test_of_commits_that_overlap_the_row_shows_the_last() -> None:
    row = submission_row(
        commit_reveal=True, reveal_round=900, state=SubmissionState.COMMITTED, included_block=Block(103)
    )
    later = seen(300, 250, {Uid(3): 1.0}, epoch=8)
    assert settle(row, later, followed=True).state == "superseded"
    assert settle(row, later).state == "unrevealed"
    waiting = seen(300, 250, {Uid(3): 1.0}, commits=commit(), epoch=9)
    assert settle(row, waiting, followed=True).state == "unrevealed", "it still waits, after its epoch"


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
