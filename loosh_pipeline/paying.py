"""What a profile pays for the stored rounds of a lookback."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl
from duckdb import DuckDBPyConnection

from loosh_pipeline.domain import Emission, Hotkey, Mode, OneSource
from loosh_pipeline.emissions import EmissionRule, Terms, answered_shares, emissions_from, since_of
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.paid import settles
from loosh_pipeline.payouts import NOTHING_PAID, Payouts, paid_of, payouts_of
from loosh_pipeline.policy.bases import unsound
from loosh_pipeline.policy.inputs import Earned
from loosh_pipeline.presence import Looks, coverage_of
from loosh_pipeline.scoring.pairs import one_sources
from loosh_pipeline.scoring.profile import parameters_of
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.looks import look_rows, looks_of
from loosh_pipeline.store.score_tables import ScoreTables, WindowRows
from loosh_pipeline.store.tables import Tables


@dataclass(frozen=True, eq=False)
class Earnings:
    """What the rounds of a lookback paid, what everybody earned by that, and by what terms."""

    terms: Terms
    payouts: Payouts
    emissions: tuple[Emission, ...]

    @property
    def answered(self) -> dict[Hotkey, float]:
        """Which part of its asks each miner answered, counted by age."""
        return answered_shares(paid_of(self.payouts.paid), self.terms.rule)


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
) -> Earnings:
    """What a profile pays for the rounds of a lookback, and makes of that and of who was there meanwhile.

    Raises ScoringError in an emergency for emissions that are no numbers: then a shorter lookback is to be tried.
    """
    since = since_of(profile, now, lookback_h)
    rows = ScoreTables(tables).window_rows(connection, profile, since, pairs=settles(profile))
    looks = look_rows(tables, since.date()).filter(pl.col("taken_at").is_between(since, now))
    terms = Terms(
        profile=profile.name,
        parameters=parameters_of(profile),
        made_at=now,
        since=since,
        lookback_h=lookback_h,
        mode=mode,
        rule=rule,
        rounds=0,
        looks_until=looks["taken_at"].max(),  # type: ignore[arg-type]  # a column of times
    )
    return earnings_of(rows, looks_of(looks), profile, terms)


def earnings_of(rows: WindowRows, looks: Looks, profile: ScoringProfile, terms: Terms) -> Earnings:
    """The same of what was read; `terms` but for the number of rounds. Raises ScoringError like `earned_over`."""
    payouts = payouts_of(rows, profile)
    coverage: dict[Hotkey, float] = coverage_of(looks, terms.rule.half_life_h)
    paid = paid_of(payouts.paid)
    emissions = emissions_from(paid, profile, terms.made_at, coverage=coverage, mode=terms.mode, rule=terms.rule)
    if terms.mode is Mode.EMERGENCY and (wrong := unsound(emissions)):
        raise ScoringError(f"these emissions are no numbers from 0 on: {', '.join(wrong)}; see settled_scores")
    return Earnings(replace(terms, rounds=sum(payouts.rounds.values())), payouts, emissions)


def sources_of(payouts: Payouts) -> list[OneSource]:
    """The pairs of the window that are taken for one source to any degree."""
    return list(one_sources(payouts.sources))


def as_earned(found: Earnings) -> Earned:
    """As a proposal takes it. The tables that `Earned.table` names are of whoever keeps them."""
    return Earned(
        at=found.terms.made_at,
        lookback_h=found.terms.lookback_h,
        rounds=found.terms.rounds,
        emissions=found.emissions,
        sources=tuple(sources_of(found.payouts)),
        versions=found.payouts.rounds,
    )
