"""Everything that a weight proposal hangs on, gathered from settings and tables.

Nothing of it is kept in a process: whoever proposes at a time, after whatever restart, gathers and proposes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl
from sqlalchemy import Engine

from loosh_pipeline.domain import Hotkey, Metagraph
from loosh_pipeline.emissions import EmissionRule
from loosh_pipeline.policy.handover import is_over
from loosh_pipeline.policy.inputs import Inputs, Policy, Presence
from loosh_pipeline.presence import coverage_of
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.imported import first_imported_at, imported_at
from loosh_pipeline.store.looks import look_rows, looks_of
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weighing import answered_at, ever_answered, last_vector, newest_earned, view_at


def rule_of(settings: Settings) -> EmissionRule:
    """How rounds of different age count here."""
    return EmissionRule(settings.emissions_half_life_h, settings.emissions_full_evidence_rounds)


def policy_of(settings: Settings) -> Policy:
    """The operator's choices."""
    return Policy(
        degraded_at=settings.weights_degraded_at,
        emergency_at=settings.weights_emergency_at,
        lookback_h=settings.emissions_lookback_h,
        emergency_lookback_h=settings.emissions_emergency_lookback_h,
        min_rounds=settings.weights_min_rounds,
        min_evidence_rounds=settings.weights_min_evidence_rounds,
        sybil_evidence=settings.weights_sybil_evidence,
        max_penalised_share=settings.weights_max_penalised_share,
        entity_cap=settings.weights_entity_cap,
        max_share=settings.weights_max_share,
        burn_hotkey=None if settings.weights_burn_hotkey is None else Hotkey(settings.weights_burn_hotkey),
        burn_share=settings.weights_burn_share,
        emergency_uniform=settings.weights_emergency_uniform,
        min_miners=settings.weights_min_miners,
        max_flagged_share=settings.weights_max_flagged_share,
        max_change=settings.weights_max_change,
        mixed_scorers=settings.weights_mixed_scorers,
    )


def presence_since(tables: Tables, at: datetime, settings: Settings) -> dict[Hotkey, Presence]:
    """Who was there in the lookback, of all that were looked for: who never was is in no round, so in no emissions."""
    since = at - timedelta(hours=settings.emissions_lookback_h)
    looks = look_rows(tables, since.date()).filter(pl.col("taken_at").is_between(since, at))
    counts = dict(looks.group_by("hotkey").agg(pl.col("taken_at").n_unique()).iter_rows())
    covered = coverage_of(looks_of(looks), settings.emissions_half_life_h)
    return {hotkey: Presence(coverage, counts[hotkey]) for hotkey, coverage in covered.items()}


def gathered(
    settings: Settings,
    tables: Tables,
    inbox: Engine,
    subnet: Metagraph,
    own: Hotkey,
    at: datetime,
    waived: Sequence[str] = (),
) -> Inputs:
    """What is known at a time, for a proposal or for its checks; `subnet` is the snapshot that they look at."""
    longest_h = settings.emissions_emergency_lookback_h
    first = first_imported_at(tables, at, longest_h)
    last = last_vector(tables, own_since=first)
    imported = None if first is None or is_over(first, last) else imported_at(tables, at, longest_h)
    return Inputs(
        at=at,
        profile=settings.pay_profile,
        subnet=subnet,
        own=own,
        earned=newest_earned(tables),
        view=view_at(tables, at),
        last=last,
        known=ever_answered(inbox),
        answered_at=answered_at(inbox),
        imported=imported,
        presence={} if imported is None else presence_since(tables, at, settings),
        waived=tuple(waived),
        policy=policy_of(settings),
    )
