"""What a profile pays for the stored rounds of a lookback."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from duckdb import DuckDBPyConnection

from loosh_pipeline.domain import ChallengeId, Emission, Hotkey, Mode
from loosh_pipeline.emissions import EmissionRule, Terms, emissions_from, since_of
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.paid import settles
from loosh_pipeline.payouts import NOTHING_PAID, Payouts, paid_of, payouts_of
from loosh_pipeline.policy.bases import unsound
from loosh_pipeline.presence import coverage_of
from loosh_pipeline.scoring.profile import parameters_of
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.looks import look_rows, looks_of
from loosh_pipeline.store.score_tables import ScoreTables
from loosh_pipeline.store.tables import Tables


@dataclass(frozen=True, eq=False)
class Earnings:
    """What the rounds of a lookback paid, what everybody earned by that, and by what terms."""

    terms: Terms
    payouts: Payouts
    emissions: tuple[Emission, ...]


def nothing_earned(profile: ScoringProfile, rule: EmissionRule, now: datetime, lookback_h: float) -> Earnings:
    """Of no round."""
    since = since_of(profile, now, lookback_h)
    about = profile.name, parameters_of(profile), now, since, lookback_h
    return Earnings(Terms(*about, Mode.NORMAL, rule, 0), NOTHING_PAID, ())


def earned_over(
    tables: Tables,
    connection: DuckDBPyConnection,
    profile: ScoringProfile,
    rule: EmissionRule,
    now: datetime,
    lookback_h: float,
    mode: Mode = Mode.NORMAL,
    *,
    canaries: Callable[[datetime], Collection[ChallengeId]],
) -> Earnings:
    """What a profile pays for the rounds of a lookback, and makes of that and of who was there meanwhile.

    `canaries`: those that came since a time, which are never paid (`store.canaries.Canaries.since`); there is no
    default, as whoever forgets them pays them.
    Raises ScoringError in an emergency for emissions that are no numbers: then a shorter lookback is to be tried.
    """
    since = since_of(profile, now, lookback_h)
    rows = ScoreTables(tables).window_rows(connection, profile, since, pairs=settles(profile))
    rows = rows.without(canaries(since))  # asked after the rows were read: each has its mark before it has scores
    payouts = payouts_of(rows, profile)
    looks = look_rows(tables, since.date()).filter(pl.col("taken_at").is_between(since, now))
    coverage: dict[Hotkey, float] = coverage_of(looks_of(looks), rule.half_life_h)
    paid = emissions_from(paid_of(payouts.paid), profile, now, coverage=coverage, mode=mode, rule=rule)
    if mode is Mode.EMERGENCY and (wrong := unsound(paid)):
        raise ScoringError(f"these emissions are no numbers from 0 on: {', '.join(wrong)}; see settled_scores")
    terms = Terms(
        profile=profile.name,
        parameters=parameters_of(profile),
        made_at=now,
        since=since,
        lookback_h=lookback_h,
        mode=mode,
        rule=rule,
        rounds=sum(payouts.rounds.values()),
        looks_until=looks["taken_at"].max(),  # type: ignore[arg-type]  # a column of times
    )
    return Earnings(terms, payouts, paid)
