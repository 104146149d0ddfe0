from __future__ import annotations

import pytest

from loosh_pipeline.chain.readiness import REORG_BLOCKS, not_ready
from loosh_pipeline.chain.records import SubmissionState
from loosh_pipeline.domain import Block, Coldkey, Hotkey, Metagraph, Mode
from tests.builders import metagraph, neuron, submission_row

OWN = Hotkey("hotkey-0")


def subnet(block: int = 100, last_update: int = 0, **fields: object) -> Metagraph:
    own = neuron(0, validator_permit=True, last_update=Block(last_update))
    return metagraph((own, neuron(1)), **({"block": Block(block)} | fields))


def test_weights_that_were_never_set_are_due() -> None:
    assert not_ready(subnet(), OWN, interval_blocks=360) is None


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"hotkey": "other"}, "not_registered", "hotkey-0 is not registered on subnet 78 at block 100"),
        (
            {"validator_permit": False},
            "no_permit",
            "hotkey-0 (uid 0) has no validator permit on subnet 78 at block 100",
        ),
        (
            {"stake": 0.5},
            "low_stake",
            "hotkey-0 (uid 0) has a stake of 0.5 on subnet 78 at block 100; 1 is the least with which weights may be "
            "set",
        ),
    ],
)
def test_who_may_not_set_weights_is_told_why_w_24(fields: dict[str, object], code: str, text: str) -> None:
    own = neuron(0, **({"validator_permit": True} | fields))
    found = not_ready(metagraph((own, neuron(1)), stake_threshold=1.0), OWN)
    assert found is not None
    assert (found.code, found.text, found.due_block) == (code, text, None)


@pytest.mark.parametrize(
    ("last_update", "interval", "code", "due"),
    [(95, 1, None, None), (96, 1, "rate_limited", 101), (90, 360, "interval", 450)],
)
def test_when_weights_are_due_by_block_height(
    last_update: int, interval: int, code: str | None, due: int | None
) -> None:
    """As the pallet counts: from the limit on, not beyond it."""
    found = not_ready(subnet(last_update=last_update), OWN, interval)
    assert (found and found.code, found and found.due_block) == (code, due)


def test_near_the_cutoff_the_interval_gives_way_but_not_the_chains_limit() -> None:
    near = {"block": 5000, "last_update": 500}
    assert not_ready(subnet(**near), OWN, 10_000, mode=Mode.DEGRADED) is None
    limited = not_ready(subnet(**near, weights_rate_limit_blocks=4600), OWN, 10_000, mode=Mode.DEGRADED)
    assert limited is not None
    assert limited.code == "rate_limited"


@pytest.mark.parametrize("state", [SubmissionState.SENDING, SubmissionState.UNKNOWN])
def test_what_may_still_be_included_is_waited_for_even_when_others_set_weights_w_25(state: SubmissionState) -> None:
    row = submission_row(state=state)
    for last_update in (0, 120):
        found = not_ready(subnet(block=163 + REORG_BLOCKS, last_update=last_update), OWN, rows=[row])
        assert found is not None
        assert (found.code, found.due_block) == ("submission_open", 164 + REORG_BLOCKS)
    assert not_ready(subnet(block=164 + REORG_BLOCKS), OWN, rows=[row]) is None


@pytest.mark.parametrize("state", [SubmissionState.INCLUDED, SubmissionState.OBSERVED, SubmissionState.COMMITTED])
def test_what_a_reorganisation_took_out_may_come_back(state: SubmissionState) -> None:
    row = submission_row(state=state, included_block=Block(103))
    assert not_ready(subnet(block=110, last_update=103), OWN, rows=[row]) is None
    gone = not_ready(subnet(block=110, last_update=40), OWN, rows=[row])
    assert gone is not None
    assert gone.code == "submission_open"


@pytest.mark.parametrize(("failures", "pause"), [(1, 10), (2, 20), (3, 40), (4, 50), (9, 50)])
def test_pauses_after_failures_grow_to_minutes_and_stand_in_the_ledger_w_23(failures: int, pause: int) -> None:
    rows = [submission_row(state=SubmissionState.REFUSED, seen_block=Block(200 - n)) for n in range(failures)]
    rows.append(submission_row(state=SubmissionState.OBSERVED))
    found = not_ready(subnet(block=200 + pause - 1), OWN, rows=rows)
    assert found is not None
    assert (found.code, found.due_block) == ("retry_later", 200 + pause)
    assert not_ready(subnet(block=200 + pause), OWN, rows=rows) is None


def test_what_was_not_revealed_does_not_wait_for_the_interval() -> None:
    row = submission_row(state=SubmissionState.UNREVEALED, included_block=Block(101), seen_block=Block(200))
    assert not_ready(subnet(block=210, last_update=101), OWN, 360, [row]) is None


def test_what_was_not_due_is_no_failure_and_hides_none() -> None:
    early = submission_row(state=SubmissionState.NOT_DUE, dies_at=None, seen_block=Block(200))
    assert not_ready(subnet(block=200), OWN, rows=[early]) is None
    refused = submission_row(state=SubmissionState.REFUSED, seen_block=Block(200))
    found = not_ready(subnet(block=205), OWN, rows=[early, refused])
    assert found is not None
    assert (found.code, found.due_block) == ("retry_later", 210)


def test_the_owner_of_the_subnet_needs_no_permit() -> None:
    own = neuron(0, validator_permit=False)
    for owner in ({"owner_hotkey": OWN}, {"owner_coldkey": own.coldkey}):
        assert not_ready(metagraph((own,), **owner), OWN) is None
    found = not_ready(metagraph((own,), owner_hotkey=Hotkey("another"), owner_coldkey=Coldkey("another")), OWN)
    assert found is not None
    assert found.code == "no_permit"
