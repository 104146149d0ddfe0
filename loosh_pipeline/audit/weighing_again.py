"""Weights worked out again from stored rows, as they were or otherwise: pure functions of what was read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from loosh_pipeline.chain.weights import plan_weights
from loosh_pipeline.domain import Hotkey, Metagraph, Proposal
from loosh_pipeline.emissions import Terms, since_of
from loosh_pipeline.errors import ChainError
from loosh_pipeline.paying import Earnings, as_earned, earnings_of
from loosh_pipeline.policy.bases import suffices
from loosh_pipeline.policy.inputs import Earned, Inputs
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.presence import coverage_of
from loosh_pipeline.scoring.profile import RobustProfile, parameters_of
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.looks import looks_of
from loosh_pipeline.store.score_tables import WindowRows


@dataclass(frozen=True, eq=False)
class Given:
    """What weights are made of. `rows` and `looks` (`LOOKS`) may reach further back than `terms` do.

    `inputs`: of the proposal; what was earned in them is not looked at. `subnet`: in which uids are looked up.
    """

    rows: WindowRows
    looks: pl.DataFrame
    profile: ScoringProfile
    terms: Terms
    inputs: Inputs
    subnet: Metagraph


@dataclass(frozen=True, eq=False)
class Weighed:
    """What came of it. `weights`: by hotkey, as they would be set; none where they cannot be: `refused` says why."""

    earned: Earned
    proposal: Proposal
    weights: Mapping[Hotkey, float]
    refused: str = ""


def weighed(given: Given) -> Weighed:
    """Emissions, proposal and weights. Raises ScoringError for emissions that are no numbers."""
    earned = earned_again(given)
    return proposed(given.inputs, earned, given.subnet)


def earned_again(given: Given) -> Earned:
    """What was earned by that."""
    return as_earned(earnings_again(given))


def earnings_again(given: Given) -> Earnings:
    """What the rounds of the terms' lookback paid, and what was earned by that."""
    rows = _since(given.rows, given.terms.since)
    terms = replace(given.terms, profile=given.profile.name, parameters=parameters_of(given.profile))
    return earnings_of(rows, looks_of(_looks(given)), given.profile, terms)


def coverage_again(given: Given) -> dict[Hotkey, float]:
    """How much of the time each miner was there."""
    return coverage_of(looks_of(_looks(given)), given.terms.rule.half_life_h)


def _looks(given: Given) -> pl.DataFrame:
    until = given.terms.looks_until
    return (
        given.looks.clear()
        if until is None
        else given.looks.filter(pl.col("taken_at").is_between(given.terms.since, until))
    )


def proposed(inputs: Inputs, earned: Earned, subnet: Metagraph) -> Weighed:
    """What policy makes of what was earned, and the weights that would be set."""
    proposal = propose(replace(inputs, earned=earned))
    try:
        plan = plan_weights(proposal.shares, subnet, inputs.own)
    except ChainError as error:
        return Weighed(earned, proposal, {}, str(error))
    return Weighed(earned, proposal, {plan.hotkeys[uid]: weight for uid, weight in plan.weights.items()})


def weighed_over(given: Given, lookbacks_h: Sequence[float]) -> Weighed:
    """By the shortest of these lookbacks that pays enough miners, as `emissions` chooses."""
    return proposed(given.inputs, as_earned(earnings_over(given, lookbacks_h)), given.subnet)


def earnings_over(given: Given, lookbacks_h: Sequence[float]) -> Earnings:
    """By the longest of them where none pays enough. Raises ValueError for no lookback."""
    if not lookbacks_h:
        raise ValueError("give a lookback")
    for lookback_h in lookbacks_h:
        since = since_of(given.profile, given.terms.made_at, lookback_h)
        terms = replace(given.terms, since=since, lookback_h=lookback_h)
        found = earnings_again(replace(given, terms=terms))
        if suffices(replace(given.inputs, earned=as_earned(found))):
            break
    return found


def without(given: Given, hotkeys: Collection[Hotkey]) -> Given:
    """As if these had never been asked, looked for or registered. Nobody is drawn in their place.

    For the robust profile that is exact: what a round says of two answers hangs on no third.
    """
    gone = list(hotkeys)
    inputs = given.inputs
    kept = {name: h for name, h in inputs.answered_at.items() if name not in gone}
    present = {name: there for name, there in inputs.presence.items() if name not in gone}
    return replace(
        given,
        rows=WindowRows(
            given.rows.scores.filter(~pl.col("hotkey").is_in(gone)),
            given.rows.pairs.filter(~pl.col("first").is_in(gone), ~pl.col("second").is_in(gone)),
        ),
        looks=given.looks.filter(~pl.col("hotkey").is_in(gone)),
        inputs=replace(
            inputs,
            subnet=_left_by(inputs.subnet, gone),
            known=inputs.known - set(gone),
            answered_at=kept,
            presence=present,
        ),
        subnet=_left_by(given.subnet, gone),
    )


def _left_by(subnet: Metagraph, gone: Collection[Hotkey]) -> Metagraph:
    return replace(subnet, neurons=tuple(each for each in subnet.neurons if each.hotkey not in gone))


def _since(rows: WindowRows, since: datetime) -> WindowRows:
    scores = rows.scores.filter(pl.col("received_at") >= since)
    if scores.height == rows.scores.height:
        return rows
    kept = scores.select("challenge_id").unique()
    return WindowRows(scores, rows.pairs.join(kept, on="challenge_id", how="semi"))


def evidenced(rows: WindowRows, profile: ScoringProfile) -> WindowRows:
    """With what likeness proves of two answers by their lengths, as this profile counts it: the one figure of stored
    pairs that a parameter of judging acts on.
    """
    if not isinstance(profile, RobustProfile) or rows.pairs.is_empty():
        return rows
    words = rows.scores.select("challenge_id", "hotkey", pl.col("words").cast(pl.Float64))
    lengths = [_words(rows.pairs, words, name) for name in ("first", "second")]
    shorter = pl.min_horizontal(*lengths)
    evidence = rows.pairs.select(
        pl.min_horizontal(pl.lit(1.0), shorter / profile.evidence_full_words).alias("evidence")
    )["evidence"]
    known = rows.pairs["evidence"].is_not_null() & evidence.is_not_null()
    same = rows.pairs["evidence"].to_frame().with_columns(pl.when(known).then(evidence).otherwise("evidence"))
    return WindowRows(rows.scores, rows.pairs.with_columns(same.to_series()))


def _words(pairs: pl.DataFrame, words: pl.DataFrame, name: str) -> pl.Series:
    found = pairs.select("challenge_id", pl.col(name).alias("hotkey")).join(
        words, on=["challenge_id", "hotkey"], how="left", maintain_order="left"
    )
    return found["words"]
