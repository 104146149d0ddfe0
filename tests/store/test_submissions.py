"""The ledger of weights and the lease it is written under, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from loosh_pipeline.chain.records import SubmissionState
from loosh_pipeline.domain import Block, Hotkey, WeightPlan
from loosh_pipeline.errors import ChainError, NotTheWriter
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Lease, Leases
from loosh_pipeline.store.spec_versions import SpecVersions
from loosh_pipeline.store.submissions import LEASE, Submissions
from tests.builders import GENESIS, NOON, metagraph

OWN = Hotkey("hotkey-0")
PLAN = WeightPlan(
    78, Block(100), {1: 0.75, 2: 0.25}, {1: "hotkey-1", 2: "hotkey-2"}, 2**64 - 1, {Hotkey("gone"): "not registered"}
)
MINUTE = timedelta(minutes=1)


def taken(inbox: Inbox, holder: str = "a", minute: int = 0) -> Lease:
    return Leases(inbox.engine).take(LEASE, holder, NOON + minute * MINUTE, 5 * MINUTE)


def wait(inbox: Inbox, minutes: int) -> None:
    """A server's own clock counts there, which goes on by itself."""
    if inbox.engine.dialect.name == "postgresql":
        with inbox.engine.begin() as connection:
            connection.execute(text(f"UPDATE leases SET expires_at = expires_at - make_interval(mins => {minutes})"))


def test_a_submission_comes_back_with_all_that_became_of_it(inbox: Inbox) -> None:
    ledger, lease = Submissions(inbox.engine), taken(inbox)
    planned = ledger.plan(lease, PLAN, metagraph(reveal_period_epochs=3), OWN, NOON)
    assert (planned.plan, planned.state, planned.fence) == (PLAN, "planned", lease.fence)
    sending = ledger.move(
        lease, planned, SubmissionState.SENDING, "signed", NOON + MINUTE, extrinsic_hash="0xab", dies_at=164
    )
    same = ledger.move(lease, sending, SubmissionState.SENDING, "still", NOON + 2 * MINUTE, dies_at=None)
    assert ledger.recent(78, OWN) == [same]
    assert (same.extrinsic_hash, same.dies_at, same.reason) == ("0xab", 164, "still")
    assert (same.changed_at, same.seen_at) == (NOON + MINUTE, NOON + 2 * MINUTE)
    assert same.reveal_period_epochs == 3
    assert ledger.signers(78) == {OWN}


def test_each_hotkey_and_subnet_has_its_own_newest_first(inbox: Inbox) -> None:
    ledger, lease = Submissions(inbox.engine), taken(inbox)
    first = ledger.plan(lease, PLAN, metagraph(), OWN, NOON)
    second = ledger.plan(lease, PLAN, metagraph(), OWN, NOON)
    ledger.plan(lease, PLAN, metagraph(), Hotkey("another"), NOON)
    assert [row.id for row in ledger.recent(78, OWN)] == [second.id, first.id]
    assert ledger.recent(79, OWN) == []


def test_what_is_undecided_is_found_however_much_followed_it(inbox: Inbox) -> None:
    ledger, lease = Submissions(inbox.engine), taken(inbox)
    rows = [ledger.plan(lease, PLAN, metagraph(), OWN, NOON) for _ in range(5)]
    first = ledger.move(lease, rows[0], SubmissionState.COMMITTED, "", NOON)
    rows[1:] = [ledger.move(lease, row, SubmissionState.OBSERVED, "", NOON) for row in rows[1:]]
    assert ledger.recent(78, OWN, limit=2) == [rows[4], rows[3], first]


def test_one_holds_a_lease_until_it_is_given_back_or_expires(inbox: Inbox) -> None:
    leases = Leases(inbox.engine)
    first = taken(inbox, "run 1")
    with pytest.raises(NotTheWriter, match=f"run 1 writes weights until {first.expires_at:%H:%M:%S} UTC"):
        taken(inbox, "run 2", 4)
    leases.release(first, NOON + MINUTE)
    second = taken(inbox, "run 2", 1)
    wait(inbox, 5)
    third = taken(inbox, "run 3", 6)
    assert [first.fence, second.fence, third.fence] == [1, 2, 3]
    leases.release(second, NOON + 7 * MINUTE)
    with pytest.raises(NotTheWriter, match="run 3"):
        taken(inbox, "run 4", 7)
    assert taken(inbox, "run 3", 7).fence == 4, "whoever holds it may take it anew"


def test_a_lease_that_cannot_be_given_back_does_not_hide_what_went_wrong(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(inbox.engine)
    with leases.held(LEASE, "a", MINUTE, lambda: NOON):
        pass
    assert taken(inbox, "b").fence == 2, "it was given back"

    def locked(*_: object) -> None:
        raise OperationalError("UPDATE leases", {}, Exception("database is locked"))

    monkeypatch.setattr(Leases, "release", locked)
    with (
        pytest.raises(ChainError, match="the node is gone"),
        leases.held(LEASE, "b", MINUTE, lambda: NOON),
    ):
        raise ChainError("the node is gone")


def test_whoever_was_overtaken_writes_nothing_any_more_w_25(inbox: Inbox) -> None:
    ledger, slow = Submissions(inbox.engine), taken(inbox, "slow")
    row = ledger.plan(slow, PLAN, metagraph(), OWN, NOON)
    wait(inbox, 5)
    fast = taken(inbox, "fast", 5)
    with pytest.raises(NotTheWriter, match="slow was overtaken: weights is written under fence 2, no longer 1"):
        ledger.move(slow, row, SubmissionState.SENDING, "", NOON)
    with pytest.raises(NotTheWriter):
        ledger.plan(slow, PLAN, metagraph(), OWN, NOON)
    assert ledger.recent(78, OWN) == [row]
    assert ledger.move(fast, row, SubmissionState.EXPIRED, "never signed", NOON).fence == fast.fence


def test_a_change_of_the_runtime_stands_until_it_is_acknowledged_or_taken_back(inbox: Inbox) -> None:
    versions = SpecVersions(inbox.engine)
    versions.note(461, NOON)
    assert versions.change() is None, "the first is no change"
    versions.note(462, NOON + MINUTE)
    versions.note(463, NOON + 2 * MINUTE)
    change = versions.change()
    assert change is not None
    assert (change.before, change.after, change.at) == (461, 463, NOON + 2 * MINUTE)
    versions.note(461, NOON + 3 * MINUTE)
    assert versions.change() is None
    versions.note(464, NOON + 4 * MINUTE)
    versions.acknowledge()
    assert versions.change() is None
    versions.note(464, NOON + 5 * MINUTE)
    assert versions.change() is None


def test_a_change_that_nobody_acknowledged_hides_no_later_one(inbox: Inbox) -> None:
    versions = SpecVersions(inbox.engine)
    versions.note(461, NOON - timedelta(days=300))
    versions.note(462, NOON - timedelta(days=30))
    versions.note(463, NOON)
    change = versions.change()
    assert change is not None
    assert (change.before, change.after, change.at) == (462, 463, NOON)
    versions.note(464, NOON + timedelta(days=6))
    versions.note(462, NOON + timedelta(days=40))
    change = versions.change()
    assert change is not None, "what is not told any more cannot be taken back"
    assert (change.before, change.after, change.at) == (464, 462, NOON + timedelta(days=40))


def test_a_chain_is_asked_for_by_its_first_block(inbox: Inbox) -> None:
    ledger, lease, other = Submissions(inbox.engine), taken(inbox), "0x" + "7e" * 32
    here = ledger.plan(lease, PLAN, metagraph(), OWN, NOON)
    there = ledger.plan(lease, PLAN, metagraph(genesis_hash=other), Hotkey("another"), NOON)
    assert here.genesis_hash == GENESIS
    assert ledger.recent(78, OWN, genesis_hash=GENESIS) == [here]
    assert ledger.recent(78, OWN, genesis_hash=other) == []
    assert ledger.recent(78, there.hotkey, genesis_hash=other) == [there]
    assert ledger.signers(78, GENESIS) == {OWN}
