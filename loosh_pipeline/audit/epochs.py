"""Which epochs there are, and where the tables of one lie. An epoch is one setting of weights, known by its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine

from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import Metagraph
from loosh_pipeline.errors import UnknownEpoch
from loosh_pipeline.store.frames import metagraph_of
from loosh_pipeline.store.submissions import Submissions
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weigh_records import earned_table, key_of
from loosh_pipeline.store.weighing import proposal_behind
from loosh_pipeline.store.weight_frames import submission_key

LATEST = "latest"
READ_BACK = "weight_receipts"
SHOWN = 10
"""Numbers that an error names."""
SNAPSHOT_WITHIN = timedelta(days=1)
"""How long before its submission the snapshot of a plan may have been taken; it is seconds, but clocks are set."""


@dataclass(frozen=True, slots=True)
class EpochTables:
    """One setting of weights, and under which keys lies what it was made of.

    `weights`: of weights, weights_dropped. `proposal`: of weight_proposals, policy_acts, proposal_inputs. `emissions`:
    of emissions, sources, settled_scores, rounds_left_out, counted_rounds, unpaid_asks, emission_terms. A key is None
    where nothing of it is kept any more; not everything was kept by earlier releases.
    """

    row: SubmissionRow
    weights: TableKey
    proposal: TableKey | None
    emissions: TableKey | None

    @property
    def number(self) -> int:
        return self.row.id


def epochs(inbox: Engine, most: int = 50) -> Sequence[SubmissionRow]:
    """What was submitted as weights, whatever became of it, newest first."""
    return Submissions(inbox).newest(most)


def latest_epoch(inbox: Engine) -> SubmissionRow | None:
    """The newest that the chain took; None when it never took any."""
    return Submissions(inbox).newest_taken()


def epoch_tables(inbox: Engine, tables: Tables, which: str = LATEST) -> EpochTables:
    """The epoch of a number, or the newest that the chain took. Raises UnknownEpoch that says which there are."""
    row = _row(inbox, which)
    weights = submission_key(row)
    proposal = proposal_behind(tables, weights)
    return EpochTables(row, weights, proposal, None if proposal is None else _emissions_of(tables, proposal))


def _row(inbox: Engine, which: str) -> SubmissionRow:
    if which == LATEST:
        if (row := latest_epoch(inbox)) is None:
            raise UnknownEpoch(f"the chain took no weights of this validator yet; {_there_are(inbox)}")
        return row
    number = int(which) if which.isascii() and which.isdigit() and len(which) < 10 else None
    found = None if number is None else Submissions(inbox).get(number)
    if found is None:
        raise UnknownEpoch(f"there is no epoch {which!r}; {_there_are(inbox)}")
    return found


def _there_are(inbox: Engine) -> str:
    newest = epochs(inbox, SHOWN + 1)
    if not newest:
        return "none were ever submitted from here; `loosh status` says what holds them up"
    named = ", ".join(str(row.id) for row in newest[:SHOWN])
    return f"there are {named}{' and older ones' if len(newest) > SHOWN else ''}, or `{LATEST}`"


def _emissions_of(tables: Tables, proposal: TableKey) -> TableKey | None:
    """The run of `emissions` that a proposal was made of: as it says, or of an earlier release the newest before it."""
    if (said := earned_table(tables, proposal)) is not None:
        return key_of(said) if said else None
    return next((key for key in tables.newest_first("emissions", proposal.day) if key.name <= proposal.name), None)


def snapshot_of(tables: Tables, row: SubmissionRow) -> Metagraph | None:
    """The snapshot whose slots a plan was made for; None where it is not kept. Raises StoreError for a broken one."""
    oldest = f"{row.created_at - SNAPSHOT_WITHIN:%Y%m%dT%H%M%S%f}"
    submitted = submission_key(row)
    for key in tables.newest_first("metagraph", submitted.day):
        taken, _, block = key.name.rpartition("-")
        if taken < oldest:
            break
        if key.name <= submitted.name and block == str(row.plan.block):
            return metagraph_of(tables.read("metagraph", key))
    return None


def read_backs(tables: Tables, where: EpochTables) -> list[TableKey]:
    """What was read back from the chain since these weights, the oldest first: they are, within a day or two, until the
    next. A table may be of other weights too.
    """
    return made_after(tables, where, READ_BACK)


def made_after(tables: Tables, where: EpochTables, asset: str) -> list[TableKey]:
    """Tables of an asset that were made since these weights, within a day or two, the oldest first."""
    days = (where.weights.day, where.weights.day + timedelta(days=1))
    found = (TableKey.named(day, each.name) for day in days for each in tables.files(asset, day))
    return sorted((key for key in found if key.name > where.weights.name), key=lambda key: key.name)
