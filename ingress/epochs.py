"""What is stored of settings of weights, as pages ask for it: what changes no more is kept once it was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl
from fastapi import HTTPException, status
from sqlalchemy import Engine

from ingress.kept import Kept
from loosh_pipeline.audit.comparison import Comparison, compared
from loosh_pipeline.audit.epochs import LATEST, EpochTables, epoch_tables, epochs, made_after
from loosh_pipeline.audit.miners import MinerLine, Miners, miners_of_epoch
from loosh_pipeline.audit.naming import named_miner
from loosh_pipeline.audit.rules_said import comes_out_again
from loosh_pipeline.audit.sides import sides_of
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import Emission, Hotkey, Proposal
from loosh_pipeline.emissions import Terms
from loosh_pipeline.errors import StoreError, UnknownEpoch, UnknownMiner
from loosh_pipeline.policy.propose import Traced
from loosh_pipeline.store.frames import emissions_of, proposal_of
from loosh_pipeline.store.submissions import Submissions
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weigh_records import EMISSION_TERMS, PROPOSAL_INPUTS, read_inputs, read_terms
from loosh_pipeline.store.weighing import proposal_behind
from loosh_pipeline.store.weight_frames import submission_key

T = TypeVar("T")

LINES_KEPT, EARNED_KEPT, MADE_OF_KEPT, TRACES_KEPT = 8, 64, 256, 4
"""Epochs of which each is remembered, by how large it is and how many one page asks for."""
LOOKED_THROUGH = 6
"""Tables after an epoch in which what was made of it is looked for, the first and the last of two days: it comes soon
after it, or is of the newest epoch."""
_MADE_OF: Mapping[str, Any] = {"mode": pl.String, "basis": pl.String, "profile": pl.String, "rounds": pl.Int64}


@dataclass(frozen=True, slots=True)
class Past:
    """One miner in one epoch; `emission` is None where it was not asked, or nothing is kept."""

    row: SubmissionRow
    weight: float
    emission: Emission | None


@dataclass(frozen=True, slots=True)
class MadeOf:
    """What weights were made of, as their proposal says."""

    mode: str
    basis: str
    profile: str
    rounds: int


@dataclass(frozen=True, slots=True)
class Traces:
    """A stored proposal, and the steps to it; None where it does not come out again, or its inputs are not kept."""

    proposal: Proposal | None
    traced: Traced | None


class Epochs:
    """Reads them. Every method blocks, and raises HTTPException: 404 for what there is not, 500 for broken tables."""

    def __init__(self, inbox: Engine, tables: Tables) -> None:
        self._inbox, self._tables, self._ledger = inbox, tables, Submissions(inbox)
        self._miners = Kept[int, Miners](LINES_KEPT)
        self._earned = Kept[int, Mapping[Hotkey, Emission]](EARNED_KEPT)
        self._made_of = Kept[int, MadeOf | None](MADE_OF_KEPT)
        self._traces = Kept[int, Traces](TRACES_KEPT)

    def newest(self, most: int, until: int | None = None) -> Sequence[SubmissionRow]:
        """What was submitted last, up to a number, newest first, whatever became of it."""
        return epochs(self._inbox, most) if until is None else self._ledger.newest_until(until, most)

    def taken(self, number: int, most: int) -> Sequence[SubmissionRow]:
        """What the chain took last, up to a number, newest first."""
        return self._ledger.taken_until(number, most)

    def where(self, epoch: str = LATEST) -> EpochTables:
        try:
            return epoch_tables(self._inbox, self._tables, epoch)
        except UnknownEpoch as error:
            raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error
        except (StoreError, OSError) as error:
            raise _broken(error) from error

    def terms(self, where: EpochTables) -> Terms | None:
        """Of which rounds, and by what rule, emissions were made; None where it is not kept."""
        key = where.emissions
        try:
            known = key is not None and self._tables.exists(EMISSION_TERMS, key)
            return read_terms(self._tables, key) if key is not None and known else None
        except (StoreError, OSError) as error:
            raise _broken(error) from error

    def miners(self, where: EpochTables) -> Miners:
        """All miners in a line each."""
        return self._read(self._miners, where.number, lambda: miners_of_epoch(self._tables, where))

    def named(self, where: EpochTables, miner: str) -> Hotkey:
        """Whom somebody means by a hotkey, the beginning of one, or a uid."""
        try:
            return named_miner(miner, self.miners(where).uids)
        except UnknownMiner as error:
            raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error

    def past(self, hotkey: Hotkey, number: int, most: int) -> list[Past]:
        """One miner in the last epochs that the chain took, up to a number, the oldest first."""
        rows = reversed(self.taken(number, most))
        return [Past(row, weights_of(row).get(hotkey, 0.0), self.emissions(row).get(hotkey)) for row in rows]

    def emissions(self, row: SubmissionRow) -> Mapping[Hotkey, Emission]:
        """What everybody earned whose weights these are."""
        return self._read(self._earned, row.id, lambda: self._emissions(self.where(str(row.id))))

    def _emissions(self, where: EpochTables) -> Mapping[Hotkey, Emission]:
        if where.emissions is None or not self._tables.exists("emissions", where.emissions):
            return {}
        return {each.hotkey: each for each in emissions_of(self._tables.read("emissions", where.emissions))}

    def made_of(self, row: SubmissionRow) -> MadeOf | None:
        """None where the proposal is not kept."""
        return self._read(self._made_of, row.id, lambda: self._proposed(row))

    def _proposed(self, row: SubmissionRow) -> MadeOf | None:
        key = proposal_behind(self._tables, submission_key(row))
        if key is None:
            return None
        rows = self._tables.read_files("weight_proposals", key.day, [key.file], _MADE_OF).select(*_MADE_OF)
        return None if rows.is_empty() else MadeOf(**rows.row(0, named=True))

    def traces(self, where: EpochTables) -> Traces:
        return self._read(self._traces, where.number, lambda: self._traced(where))

    def _traced(self, where: EpochTables) -> Traces:
        if where.proposal is None:
            return Traces(None, None)
        acts = self._tables.read("policy_acts", where.proposal)
        proposal = proposal_of(self._tables.read("weight_proposals", where.proposal), acts)
        if not self._tables.exists(PROPOSAL_INPUTS, where.proposal):
            return Traces(proposal, None)
        return Traces(proposal, comes_out_again(proposal, read_inputs(self._tables, where.proposal)))

    def compared(self, where: EpochTables, mine: MinerLine, theirs: MinerLine) -> Comparison:
        """Why one has less than the other."""
        found = self.traces(where)
        try:
            sides = sides_of(self._tables, where, (mine, theirs), found.proposal, found.traced)
        except (StoreError, OSError) as error:
            raise _broken(error) from error
        return compared(*sides)

    def read_back(self, where: EpochTables) -> pl.DataFrame | None:
        """What was read last from the chain of these weights; None before that."""
        return self._last_of(where, "weight_receipts", "submission_id")

    def shadows(self, where: EpochTables) -> pl.DataFrame | None:
        """What other profiles would have made of these weights; None where none was compared."""
        return self._last_of(where, "shadow_diff", "epoch")

    def _last_of(self, where: EpochTables, asset: str, column: str) -> pl.DataFrame | None:
        """The newest of a few tables after an epoch that says it is of it."""
        try:
            keys = made_after(self._tables, where, asset)
            for key in [*reversed(keys[-LOOKED_THROUGH:]), *reversed(keys[:LOOKED_THROUGH])]:
                of_it = self._tables.read(asset, key).filter(pl.col(column) == where.number)
                if not of_it.is_empty():
                    return of_it
        except (StoreError, OSError) as error:
            raise _broken(error) from error
        return None

    def _read(self, kept: Kept[int, T], number: int, make: Callable[[], T]) -> T:
        try:
            return kept.get(number, make)
        except (StoreError, OSError) as error:
            raise _broken(error) from error


def weights_of(row: SubmissionRow) -> dict[Hotkey, float]:
    """What was submitted, by hotkey."""
    return {hotkey: row.plan.weights[uid] for uid, hotkey in row.plan.hotkeys.items()}


def _broken(error: Exception) -> HTTPException:
    return HTTPException(status.HTTP_500_INTERNAL_SERVER_ERROR, str(error))
