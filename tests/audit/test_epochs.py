"""Which epochs there are, and where the tables of one lie."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from loosh_pipeline.audit.epochs import LATEST, epoch_tables, epochs, latest_epoch
from loosh_pipeline.chain.records import SubmissionRow, SubmissionState
from loosh_pipeline.domain import Block, Hotkey, WeightPlan
from loosh_pipeline.errors import UnknownEpoch
from loosh_pipeline.policy.inputs import Earned, Inputs
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.store.frames import emissions_frame, policy_acts_frame, proposal_frame
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Lease, Leases
from loosh_pipeline.store.submissions import LEASE, Submissions
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weigh_records import write_inputs
from loosh_pipeline.store.weight_frames import submission_key, write_submission
from tests.builders import NOON, emission, metagraph

OWN = Hotkey("hotkey-0")
PLAN = WeightPlan(78, Block(100), {1: 1.0}, {1: "hotkey-1"}, 0)
MINUTE = timedelta(minutes=1)


class History:
    """What is written when weights are made, at minutes after noon."""

    def __init__(self, inbox: Inbox, tables: Tables) -> None:
        self.inbox, self.tables = inbox, tables
        self._ledger = Submissions(inbox.engine)
        self._lease: Lease = Leases(inbox.engine).take(LEASE, "a", NOON, timedelta(days=1))

    def emissions(self, minute: int) -> TableKey:
        key = self._key(minute)
        about = {"made_at": NOON + minute * MINUTE, "lookback_h": 24.0, "versions": {"v": 3}}
        self.tables.write("emissions", key, emissions_frame([emission()], "robust", 3, **about))
        return key

    def proposal(self, minute: int, made_of: TableKey | None, recorded: bool = True) -> TableKey:
        key = self._key(minute)
        earned = Earned(table=f"{made_of.day}/{made_of.name}") if made_of else Earned()
        inputs = Inputs(NOON + minute * MINUTE, "robust", metagraph(), OWN, earned=earned)
        if recorded:
            write_inputs(self.tables, key, inputs)
        proposal = propose(inputs)
        self.tables.write("policy_acts", key, policy_acts_frame(proposal))
        self.tables.write("weight_proposals", key, proposal_frame(proposal))
        return key

    def submitted(self, minute: int, state: SubmissionState, included_block: int | None = None) -> SubmissionRow:
        row = self._ledger.plan(self._lease, PLAN, metagraph(), OWN, NOON + minute * MINUTE)
        row = self._ledger.move(self._lease, row, state, "said so", NOON, included_block=included_block)
        write_submission(self.tables, row)
        return row

    def _key(self, minute: int) -> TableKey:
        at = NOON + minute * MINUTE
        return TableKey.of(f"{at:%Y%m%dT%H%M%S%f}-run{minute:05}", at)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    inbox = Inbox.open(f"sqlite:///{tmp_path}/validator.db")
    yield History(inbox, Tables(str(tmp_path / "tables")))
    inbox.engine.dispose()


def test_an_epoch_is_of_the_proposal_before_it_and_of_the_emissions_that_this_names(history: History) -> None:
    named = history.emissions(1)
    history.emissions(2)
    proposal = history.proposal(3, named)
    row = history.submitted(4, SubmissionState.OBSERVED, 105)
    history.proposal(5, history.emissions(5))
    found = epoch_tables(history.inbox.engine, history.tables, str(row.id))
    assert (found.number, found.row, found.proposal, found.emissions) == (row.id, row, proposal, named)
    assert found.weights == submission_key(row)
    assert history.tables.read("weights", found.weights)["submission_id"][0] == row.id


def test_of_an_earlier_release_the_newest_emissions_before_the_proposal_are_taken(history: History) -> None:
    history.emissions(1)
    newest = history.emissions(2)
    proposal = history.proposal(3, None, recorded=False)
    history.emissions(4)
    row = history.submitted(5, SubmissionState.OBSERVED, 105)
    found = epoch_tables(history.inbox.engine, history.tables, str(row.id))
    assert (found.proposal, found.emissions) == (proposal, newest)


def test_what_is_not_kept_is_none(history: History) -> None:
    row = history.submitted(1, SubmissionState.OBSERVED, 105)
    found = epoch_tables(history.inbox.engine, history.tables, str(row.id))
    assert (found.proposal, found.emissions) == (None, None)
    later = history.submitted(3, SubmissionState.OBSERVED, 106)
    history.proposal(2, None)
    assert epoch_tables(history.inbox.engine, history.tables, str(later.id)).emissions is None


@pytest.mark.parametrize(
    ("state", "block", "taken"),
    [
        (SubmissionState.INCLUDED, 105, True),
        (SubmissionState.COMMITTED, 105, True),
        (SubmissionState.OBSERVED, 105, True),
        (SubmissionState.SUPERSEDED, 105, True),
        (SubmissionState.MISSING, 105, False),
        (SubmissionState.REFUSED, 105, False),
        (SubmissionState.UNREVEALED, 105, False),
        (SubmissionState.EXPIRED, None, False),
        (SubmissionState.UNKNOWN, None, False),
    ],
)
def test_the_latest_is_the_newest_that_the_chain_took(
    history: History, state: SubmissionState, block: int | None, taken: bool
) -> None:
    first = history.submitted(1, SubmissionState.OBSERVED, 101)
    second = history.submitted(2, state, block)
    assert second.taken is taken
    latest = latest_epoch(history.inbox.engine)
    assert latest is not None
    assert latest.id == (second.id if taken else first.id)
    assert epoch_tables(history.inbox.engine, history.tables, LATEST).row == latest
    assert [row.id for row in epochs(history.inbox.engine)] == [second.id, first.id]
    assert [row.id for row in epochs(history.inbox.engine, 1)] == [second.id]


@pytest.mark.parametrize("which", ["7", "0", "-1", "²", "1.0", "newest", "", "99999999999999999999"])
def test_an_unknown_epoch_is_told_with_those_that_there_are(history: History, which: str) -> None:
    history.submitted(1, SubmissionState.OBSERVED, 101)
    history.submitted(2, SubmissionState.REFUSED)
    with pytest.raises(UnknownEpoch, match=r"no epoch .*; there are 2, 1, or `latest`"):
        epoch_tables(history.inbox.engine, history.tables, which)


def test_before_any_weights_there_is_no_epoch(history: History) -> None:
    with pytest.raises(UnknownEpoch, match="took no weights of this validator yet; none were ever submitted"):
        epoch_tables(history.inbox.engine, history.tables)
    history.submitted(1, SubmissionState.REFUSED)
    with pytest.raises(UnknownEpoch, match="took no weights of this validator yet; there are 1, or"):
        epoch_tables(history.inbox.engine, history.tables)
