from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from loosh_pipeline.chain.alerts import Standing, alerts
from loosh_pipeline.chain.records import SpecChange, SubmissionState
from loosh_pipeline.domain import Block, Coldkey, Hotkey
from tests.builders import NOON, metagraph, neuron, submission_row

OWN = Hotkey("hotkey-0")


def standing(own: dict[str, Any] | None = None, subnet: dict[str, Any] | None = None, **fields: Any) -> Standing:
    """In order, unless a field says otherwise."""
    me = neuron(0, **({"validator_permit": True, "last_update": Block(990)} | (own or {})))
    seen = metagraph((me, neuron(1)), **({"block": Block(1000)} | (subnet or {})))
    return Standing(**({"now": NOON, "own_hotkey": OWN, "subnet": seen} | fields))


def codes(found: Standing) -> list[str]:
    return [alert.code for alert in alerts(found)]


def test_a_validator_in_order_has_none() -> None:
    row = submission_row(state=SubmissionState.OBSERVED, included_block=Block(990))
    assert codes(standing(rows=[row], signers=frozenset({OWN}), coldkey=Coldkey("coldkey-0"))) == []


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (standing(subnet={"taken_at": NOON - timedelta(hours=1)}), "chain_stale"),
        (standing(spec_change=SpecChange(461, 462, NOON - timedelta(days=6))), "spec_version_changed"),
        (standing(own={"hotkey": "other"}), "not_registered"),
        (standing(own={"validator_permit": False}), "no_permit"),
        (standing(subnet={"stake_threshold": 2.0}), "low_stake"),
        (standing(coldkey=Coldkey("coldkey-9")), "signer_mismatch"),
        (standing(signers=frozenset({Hotkey("hotkey-7")})), "signer_mismatch"),
        (standing(own={"last_update": 1000 - 81}, subnet={"activity_cutoff_blocks": 100}), "mode_degraded"),
        (standing(own={"last_update": 1000 - 95}, subnet={"activity_cutoff_blocks": 100}), "mode_emergency"),
        (standing(interval_blocks=3), "weights_late"),
        (
            standing(rows=[submission_row(state=SubmissionState.COMMITTED, composed_here="not found")]),
            "composed_here",
        ),
        (
            standing(rows=[submission_row(state=SubmissionState.OBSERVED, included_block=Block(980))]),
            "foreign_weights",
        ),
        *(
            (
                standing(rows=[submission_row(state=state, included_block=Block(980), commit_reveal=True)]),
                "foreign_weights",
            )
            for state in (SubmissionState.OBSERVED, SubmissionState.COMMITTED)
        ),
        *(
            (standing(rows=[submission_row(state=state, reason="why")]), f"weights_{state}")
            for state in ("missing", "refused", "expired", "unrevealed", "unknown")
        ),
    ],
)
def test_each_trouble_is_one_alert_with_figures_and_something_to_do(found: Standing, code: str) -> None:
    (alert,) = alerts(found)
    assert alert.code == code
    assert alert.text
    assert alert.action


def test_while_the_next_commit_waits_the_one_that_was_not_revealed_is_still_told() -> None:
    rows = [submission_row(state=SubmissionState.COMMITTED), submission_row(state=SubmissionState.UNREVEALED)]
    assert codes(standing(rows=rows)) == ["weights_unrevealed"]
    for state in (SubmissionState.INCLUDED, SubmissionState.SENDING, SubmissionState.NOT_DUE):
        assert codes(standing(rows=[submission_row(state=state), *rows])) == ["weights_unrevealed"]
    rows = [submission_row(state=SubmissionState.COMMITTED), submission_row(state=SubmissionState.OBSERVED)]
    assert codes(standing(rows=rows)) == []


def test_the_owner_of_the_subnet_needs_no_permit() -> None:
    owner = {"validator_permit": False, "hotkey": OWN}
    assert codes(standing(own=owner)) == ["no_permit"]
    assert codes(standing(own=owner, subnet={"owner_hotkey": OWN})) == []


def test_what_was_never_seen_is_said() -> None:
    assert codes(Standing(NOON, OWN, None)) == ["chain_unseen"]
    assert codes(Standing(NOON, None, None)) == ["chain_unseen", "no_hotkey"]


def test_a_change_of_the_runtime_is_told_for_a_week() -> None:
    assert codes(standing(spec_change=SpecChange(461, 462, NOON - timedelta(days=7)))) == []
