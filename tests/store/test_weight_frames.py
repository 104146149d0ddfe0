from __future__ import annotations

from loosh_pipeline.chain.records import SubmissionState
from loosh_pipeline.domain import Block, Hotkey, ObservedWeights, Uid, WeightPlan
from loosh_pipeline.store.weight_frames import dropped_frame, receipts_frame, weights_frame
from tests.builders import NOON, submission_row

PLAN = WeightPlan(
    78, Block(2**64 - 1), {2: 0.25, 1: 0.75}, {1: "hotkey-1", 2: "hotkey-2"}, 2**64 - 1, {Hotkey("gone"): "left"}
)


def test_every_weight_says_what_became_of_the_whole() -> None:
    row = submission_row(plan=PLAN, state=SubmissionState.REFUSED, reason="not_authorized: no permit", error_code="x")
    frame = weights_frame(row)
    assert frame.select("uid", "hotkey", "weight").rows() == [(2, "hotkey-2", 0.25), (1, "hotkey-1", 0.75)]
    told = ("submission_id", "state", "success", "error_code", "error", "version_key", "block", "submitted_at")
    assert [frame[name].unique().to_list() for name in told] == [
        [value] for value in (1, "refused", False, "x", row.reason, 2**64 - 1, 2**64 - 1, NOON)
    ]
    assert dropped_frame(row).select("hotkey", "reason", "submission_id").rows() == [("gone", "left", 1)]


def test_what_was_included_succeeded_whatever_came_after() -> None:
    states = {state: submission_row(state=state, included_block=Block(103)).submission() for state in SubmissionState}
    failed = {state for state, said in states.items() if not said.success}
    assert failed == {SubmissionState.REFUSED, SubmissionState.EXPIRED}
    assert {said.error_code for said in states.values()} == {None, "refused", "expired"}


def test_receipts_show_what_is_planned_observed_or_both() -> None:
    row = submission_row(plan=PLAN, state=SubmissionState.MISSING, reason="why")
    held = {Uid(1): Hotkey("hotkey-1"), Uid(2): Hotkey("newcomer")}
    observed = ObservedWeights(Hotkey("v"), Uid(0), Block(120), Block(119), {Uid(1): 0.5, Uid(7): 0.5}, hotkeys=held)
    frame = receipts_frame(row, observed, NOON)
    assert frame.select("uid", "hotkey", "planned", "observed", "uid_state").rows() == [
        (1, "hotkey-1", 0.75, 0.5, "missing"),
        (2, "hotkey-2", 0.25, 0.0, "recycled"),
        (7, "", 0.0, 0.5, "not ours"),
    ]
    assert frame.select("state", "reason", "validator", "observed_block", "last_update").unique().rows() == [
        ("missing", "why", "v", 120, 119)
    ]
