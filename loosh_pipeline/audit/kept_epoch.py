"""What is kept of an epoch, read once, for receipts of its miners.

Reading leaves nothing behind: whoever looks writes no table, no copy of one, and takes no lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import polars as pl

from loosh_pipeline.audit.epochs import LATEST, EpochTables, epoch_tables, snapshot_of
from loosh_pipeline.audit.naming import known_hotkeys
from loosh_pipeline.audit.rounds_said import MinerWindow
from loosh_pipeline.audit.rules_said import comes_out_again
from loosh_pipeline.domain import Emission, Hotkey, Metagraph, OneSource, Outcome, Proposal
from loosh_pipeline.emissions import Terms
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.propose import Traced
from loosh_pipeline.rescoring.wanted import profile_with
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.frames import emissions_of, proposal_of
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.score_frames import PAIRED_FROM, SETTLED_FROM
from loosh_pipeline.store.score_tables import PAIRS, SCORES
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, read_inputs, read_terms
from loosh_pipeline.store.window_cache import WindowCache

_ROUND = ["challenge_id", "scorer_version"]


@dataclass(frozen=True, eq=False)
class Epoch:
    """What is kept of one setting of weights; None, and no rows, where nothing is. `notes` say what is missing."""

    tables: Tables
    inbox: Inbox
    where: EpochTables
    proposal: Proposal | None
    inputs: Inputs | None
    terms: Terms | None
    emissions: tuple[Emission, ...]
    sources: tuple[OneSource, ...]
    counted: pl.DataFrame | None
    notes: tuple[str, ...]

    @classmethod
    def read(cls, tables: Tables, inbox: Inbox, which: str = LATEST) -> Epoch:
        """Raises UnknownEpoch, and StoreError for tables that cannot be read."""
        where = epoch_tables(inbox.engine, tables, which)
        notes: list[str] = []
        proposal = inputs = terms = counted = None
        if where.proposal is None:
            notes.append("the proposal behind these weights is not kept any more")
        else:
            acts = tables.read("policy_acts", where.proposal)
            proposal = proposal_of(tables.read("weight_proposals", where.proposal), acts)
            if tables.exists("proposal_inputs", where.proposal):
                inputs = read_inputs(tables, where.proposal)
            else:
                notes.append("release 1.3.0 kept no inputs of proposals: what rules did to others cannot be said")
        emissions: tuple[Emission, ...] = ()
        if where.emissions is not None:
            emissions = emissions_of(tables.read("emissions", where.emissions))
            terms, counted, missing = _rounds_kept(tables, where.emissions)
            notes += missing
        return cls(
            tables, inbox, where, proposal, inputs, terms, emissions, _sources(tables, where.emissions), counted,
            tuple(notes),
        )  # fmt: skip

    @cached_property
    def subnet(self) -> Metagraph | None:
        """The snapshot that the proposal looked at, or that the plan was made for."""
        return snapshot_of(self.tables, self.where.row) if self.inputs is None else self.inputs.subnet

    @cached_property
    def traced(self) -> Traced | None:
        if self.inputs is None or self.proposal is None:
            return None
        return comes_out_again(self.proposal, self.inputs)

    @cached_property
    def profile(self) -> ScoringProfile | None:
        """The one that paid; None where it has parameters that this release does not know."""
        try:
            return None if self.terms is None else profile_with(self.terms.profile, self.terms.parameters)
        except ValueError:
            return None

    @cached_property
    def scores(self) -> pl.DataFrame:
        """The score rows of every round that counted."""
        if self.counted is None or self.terms is None:
            return pl.DataFrame(schema=SETTLED_FROM)
        return self._window(SCORES, SETTLED_FROM).join(self.counted.select(*_ROUND), on=_ROUND, how="semi")

    def _window(self, asset: str, schema: Mapping[str, Any]) -> pl.DataFrame:
        assert self.counted is not None
        if self.counted.is_empty():
            return pl.DataFrame(schema=schema)
        first, last = self.counted["received_at"].min(), self.counted["received_at"].max()
        assert isinstance(first, datetime) and isinstance(last, datetime)  # noqa: PT018
        return WindowCache(self.tables, asset, schema, keeps=False).rows(first.date(), last.date())

    def window_of(self, miner: Hotkey) -> MinerWindow | None:
        """Its rounds; None where they are not known any more, or were scored by what this release does not know."""
        profile, terms = self.profile, self.terms
        if profile is None or terms is None or self.counted is None:
            return None
        scores = self.scores
        mine = scores.filter(pl.col("hotkey") == miner).select(*_ROUND).unique()
        kept = self.counted.filter(~pl.col("left_out")).select(*_ROUND)
        mine = mine.join(kept, on=_ROUND, how="semi")
        scores = scores.join(mine, on=_ROUND, how="semi").sort("challenge_id", "hotkey")
        pairs, settled = pl.DataFrame(schema=PAIRED_FROM), self._settled(mine)
        if settled is not None:
            pairs = self._window(PAIRS, PAIRED_FROM).join(mine, on=_ROUND, how="semi")
        window = MinerWindow(
            miner, profile, terms.rule.half_life_h, _with_tables(scores), pairs, settled, self.sources, {}
        )
        return replace(window, reasons=self._reasons(window))

    def _settled(self, mine: pl.DataFrame) -> pl.DataFrame | None:
        key = self.where.emissions
        if key is None or not self.tables.exists("settled_scores", key):
            return None
        return self.tables.read("settled_scores", key).join(mine, on="challenge_id", how="semi")

    def _reasons(self, window: MinerWindow) -> dict[str, str]:
        """Why answers that came could not be compared, or under a profile without votes were paid nothing."""
        unsaid = pl.col("relevance").is_null() if window.settled is not None else pl.col("payout") <= 0
        mine = window.mine.filter(pl.col("outcome") == Outcome.ANSWERED, unsaid)
        found: dict[str, str] = {}
        schema = {"challenge_id": pl.String, "hotkey": pl.String, "reason": pl.String}
        for (day,), rows in mine.with_columns(day=pl.col("received_at").dt.date()).group_by("day"):
            names = [f"{table}.parquet" for table in rows["table"]]
            said = self.tables.read_files(SCORES, day, names, schema).filter(pl.col("hotkey") == window.miner)
            found.update(said.select("challenge_id", "reason").iter_rows())
        return found

    def left_out(self, miner: Hotkey) -> int:
        """Rounds that it was asked in and that counted for nobody."""
        if self.counted is None:
            return 0
        lost = self.counted.filter(pl.col("left_out")).select(*_ROUND)
        return self.scores.filter(pl.col("hotkey") == miner).join(lost, on=_ROUND, how="semi").height

    @cached_property
    def hotkeys(self) -> dict[Hotkey, int | None]:
        """Everybody that the epoch has something of, with its uid where it had one."""
        proposed = () if self.proposal is None else self.proposal.shares
        return known_hotkeys(self.where.row, [*(each.hotkey for each in self.emissions), *proposed], self.subnet)


def _rounds_kept(tables: Tables, key: TableKey) -> tuple[Terms | None, pl.DataFrame | None, list[str]]:
    if not (tables.exists("emission_terms", key) and tables.exists(COUNTED_ROUNDS, key)):
        return None, None, ["which rounds these weights were made of is not on record: single rounds cannot be shown"]
    return read_terms(tables, key), tables.read(COUNTED_ROUNDS, key), []


def _sources(tables: Tables, key: TableKey | None) -> tuple[OneSource, ...]:
    if key is None or not tables.exists("sources", key):
        return ()
    return tuple(OneSource(**row) for row in tables.read("sources", key).iter_rows(named=True))


def _with_tables(scores: pl.DataFrame) -> pl.DataFrame:
    rounds = scores.select("challenge_id", "received_at", "scorer_version").unique()
    names = [TableKey.of(*each).file.removesuffix(".parquet") for each in rounds.iter_rows()]
    named = rounds.select(_ROUND).with_columns(table=pl.Series(names, dtype=pl.String))
    return scores.join(named, on=_ROUND, how="left", maintain_order="left")
