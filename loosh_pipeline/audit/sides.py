"""What is stored of two miners of an epoch, for `comparison`: a few columns of the settled window and no round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from loosh_pipeline.audit.comparison import POLICY, RuleTaken, Side
from loosh_pipeline.audit.epochs import EpochTables
from loosh_pipeline.audit.miners import MinerLine
from loosh_pipeline.domain import Hotkey, Proposal
from loosh_pipeline.emissions import decays
from loosh_pipeline.policy.basis import EARNED
from loosh_pipeline.policy.propose import Traced
from loosh_pipeline.policy.ruled import Shares, Step, normalised
from loosh_pipeline.store.frames import UTC_MS, answered_shares_of
from loosh_pipeline.store.settled import SETTLED_SCORES
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, EMISSION_TERMS, read_terms

_SHARED: Mapping[str, Any] = {"challenge_id": pl.String, "hotkey": pl.String, "share": pl.Float64, "payout": pl.Float64}
_RECEIVED: Mapping[str, Any] = {"challenge_id": pl.String, "received_at": UTC_MS}


def sides_of(
    tables: Tables,
    where: EpochTables,
    lines: Sequence[MinerLine],
    proposal: Proposal | None,
    traced: Traced | None,
) -> tuple[Side, ...]:
    """One of each line. `traced`: how the stored proposal comes out again; None where it does not. Raises StoreError
    for broken tables.
    """
    kept = kept_of_pay(tables, where.emissions, [each.hotkey for each in lines])
    answered = _answered(tables, where.emissions)
    return tuple(_side(each, kept.get(each.hotkey, 1.0), answered.get(each.hotkey), proposal, traced) for each in lines)


def _answered(tables: Tables, key: TableKey | None) -> Mapping[Hotkey, float]:
    known = key is not None and tables.exists("emissions", key)
    return answered_shares_of(tables.read("emissions", key)) if key is not None and known else {}


def _side(
    line: MinerLine, kept: float, answered: float | None, proposal: Proposal | None, traced: Traced | None
) -> Side:
    earned = proposal is None or proposal.basis in EARNED
    rules, hotkey = _rules(line, proposal, traced), line.hotkey
    started = rules[0].before if rules else 0.0
    return Side(
        hotkey=hotkey,
        weight=line.weight,
        emission=line.emission,
        kept=kept,
        answered=answered,
        start=None if earned else started,
        rules=rules,
        proposed=line.emission.weight if proposal is None and line.emission else _proposed(proposal, hotkey),
        failures=line.outcomes,
    )


def _proposed(proposal: Proposal | None, hotkey: Hotkey) -> float | None:
    return None if proposal is None else proposal.shares.get(hotkey, 0.0)


def _rules(line: MinerLine, proposal: Proposal | None, traced: Traced | None) -> tuple[RuleTaken, ...]:
    """What each rule made of its share; one for all of them where that is not known any more."""
    if traced is not None:
        return tuple(_taken(step, line.hotkey) for step in traced.steps)
    if proposal is None:
        return ()
    before = 0.0 if line.emission is None else line.emission.weight
    reason = "; ".join(f"{act.rule}: {act.reason}" for act in line.acts)
    return (RuleTaken(POLICY, before, proposal.shares.get(line.hotkey, 0.0), reason),)


def _taken(step: Step, hotkey: Hotkey) -> RuleTaken:
    reason = "; ".join(act.reason for act in step.acts if act.hotkey == hotkey)
    return RuleTaken(step.rule, _of_whole(step.before, hotkey), _of_whole(step.after, hotkey), reason)


def _of_whole(shares: Shares, hotkey: Hotkey) -> float:
    return normalised(shares).get(hotkey, 0.0)


def kept_of_pay(tables: Tables, key: TableKey | None, hotkeys: Sequence[Hotkey]) -> dict[Hotkey, float]:
    """What of their mean payout these keep beside what it would be if they shared with none, votes as they were.

    Every payout is `share` times what it would be then (docs/scoring.md), so it is the mean of payouts by the mean of
    payouts over shares, asks counted by age as emissions count them. Who is missing was paid nothing.
    """
    if key is None or not all(tables.exists(each, key) for each in (SETTLED_SCORES, COUNTED_ROUNDS, EMISSION_TERMS)):
        return {}
    rows = tables.read_files(SETTLED_SCORES, key.day, [key.file], _SHARED)
    rows = rows.filter(pl.col("hotkey").is_in(list(hotkeys)), pl.col("payout") > 0, pl.col("share") > 0)
    rounds = tables.read_files(COUNTED_ROUNDS, key.day, [key.file], _RECEIVED).select(*_RECEIVED)
    rows = rows.join(rounds, on="challenge_id", how="inner")
    half_life_h = read_terms(tables, key).rule.half_life_h
    return {Hotkey(hotkey): _kept(of_one, half_life_h) for (hotkey,), of_one in rows.group_by("hotkey")}


def _kept(rows: pl.DataFrame, half_life_h: float) -> float:
    counts = decays(rows["received_at"].dt.epoch("ms").to_numpy(), half_life_h)
    payout, share = rows["payout"].to_numpy(), rows["share"].to_numpy()
    return float(np.dot(counts, payout) / np.dot(counts, payout / share))
