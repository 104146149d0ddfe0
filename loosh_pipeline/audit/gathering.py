"""Everything that decided an epoch's weights, gathered again from the tables as it was then.

What was put on record when weights were made says which version of which rounds counted, by what terms, and of which
inputs the proposal was made: so it comes out the same however much was scored again, compacted or asked since.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import Engine

from loosh_pipeline.audit.content import Content, Epoch, Scorer, Window
from loosh_pipeline.audit.epochs import snapshot_of
from loosh_pipeline.chain.records import SubmissionRow, plan_digest
from loosh_pipeline.domain import Metagraph, Outcome, ScorerVersion
from loosh_pipeline.emissions import Terms
from loosh_pipeline.errors import StoreError
from loosh_pipeline.payouts import window_columns
from loosh_pipeline.presence import Looks
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.store.accepted_range import accepted_since
from loosh_pipeline.store.frames import proposal_of
from loosh_pipeline.store.looks import look_rows, looks_of
from loosh_pipeline.store.score_frames import INPUTS_DIGEST, PAIRED_FROM, SETTLED_FROM
from loosh_pipeline.store.score_tables import PAIRS, SCORES, ScoreTables
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, key_of, read_inputs, read_terms
from loosh_pipeline.store.weighing import proposal_behind
from loosh_pipeline.store.weight_frames import submission_key
from loosh_pipeline.store.window_cache import WindowCache

ROUND = ("challenge_id", "scorer_version")


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was told of an epoch when it was sealed, and may have changed since: it is gathered again as it was told.

    `acceptances`: how many links there were; `became`: what had become of some, by number.
    """

    epoch: Epoch
    acceptances: int
    became: Mapping[int, str] = field(default_factory=dict)


def epoch_of(row: SubmissionRow) -> Epoch:
    """One setting of weights as it stands in the ledger."""
    return Epoch(
        number=row.id,
        validator=row.hotkey,
        netuid=row.plan.netuid,
        genesis_hash=row.genesis_hash,
        submitted_at=row.created_at,
        block=row.plan.block,
        digest=plan_digest(row.plan),
        extrinsic_hash=row.extrinsic_hash,
        included_block=row.included_block,
    )


def content_of(tables: Tables, inbox: Engine, row: SubmissionRow, remembered: Remembered | None = None) -> Content:
    """What decided the weights of a submission, without any round that is shown whole.

    Raises StoreError that names what is missing: weights that an earlier release made lack records.
    """
    submitted = submission_key(row)
    proposed = proposal_behind(tables, submitted)
    if proposed is None:
        raise StoreError(f"no proposal is there that submission {row.id} could have been made of")
    inputs = read_inputs(tables, proposed)
    if not inputs.earned.table:
        raise StoreError(f"submission {row.id} rests on no emissions: its weights were made of something else")
    earned = key_of(inputs.earned.table)
    terms, counted = read_terms(tables, earned), tables.read(COUNTED_ROUNDS, earned)
    window = _window(tables, counted, terms)
    kept = (None, None) if remembered is None else (remembered.became, remembered.acceptances)
    accepted = accepted_since(inbox, terms.since, set(window.columns.challenges), *kept)
    return Content(
        epoch=epoch_of(row) if remembered is None else remembered.epoch,
        terms=terms,
        inputs=inputs,
        proposal=proposal_of(tables.read("weight_proposals", proposed), tables.read("policy_acts", proposed)),
        plan=row.plan,
        subnet=_snapshot(tables, row),
        window=window,
        looks=_looks(tables, terms),
        acceptances=accepted.acceptances,
        scorers=_scorers(tables, set(window.version)),
        link_before=accepted.link_before,
    )


def _window(tables: Tables, counted: pl.DataFrame, terms: Terms) -> Window:
    """The rows of exactly the versions that counted. Raises StoreError for a round that has none any more."""
    counted = counted.sort("challenge_id")
    days = terms.since.date(), _last_day(counted, terms)
    scores = _of_rounds(WindowCache(tables, SCORES, SETTLED_FROM).rows(*days), counted).sort("challenge_id", "hotkey")
    pairs = pl.DataFrame(schema=PAIRED_FROM)
    if terms.profile != NetworkProfile.name:
        pairs = _of_rounds(WindowCache(tables, PAIRS, PAIRED_FROM).rows(*days), counted)
    if (gone := counted.join(scores, on=ROUND, how="anti")).height:
        raise StoreError(
            f"of {counted.height} rounds that counted, {gone.height} have no scores any more, such as challenge "
            f"{gone['challenge_id'][0]} in version {gone['scorer_version'][0]}: they were deleted"
        )
    digests = scores.group_by("challenge_id", maintain_order=True).agg(pl.col(INPUTS_DIGEST).first())
    return Window(
        columns=window_columns(scores, pairs.sort("challenge_id", "first", "second")),
        at_ms=counted["received_at"].dt.epoch("ms").to_numpy(),
        version=tuple(map(ScorerVersion, counted["scorer_version"])),
        left_out=counted["left_out"].to_numpy(),
        inputs_digest=tuple(digests[INPUTS_DIGEST].fill_null("")),
        outcome=tuple(scores["outcome"]),
        answered=(scores["outcome"] == Outcome.ANSWERED).to_numpy(),
        measured=scores["quality_threshold"].is_not_null().to_numpy(),
        payout=scores["payout"].to_numpy().astype(np.float64),
    )


def _last_day(counted: pl.DataFrame, terms: Terms) -> date:
    """Rounds may have come after their emissions were made, where the clock was set back in between."""
    newest: datetime | None = counted["received_at"].max()  # type: ignore[assignment]  # a column of times
    return max(terms.made_at, newest or terms.made_at).date()


def _of_rounds(rows: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    return rows.join(counted, on=ROUND, how="semi")


def _looks(tables: Tables, terms: Terms) -> Looks:
    """Those of the lookback up to the newest that counted, by time and hotkey."""
    if terms.looks_until is None:
        return Looks((), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    rows = look_rows(tables, terms.since.date(), terms.looks_until.date())
    counting = rows.filter(pl.col("taken_at").is_between(terms.since, terms.looks_until))
    return looks_of(counting.sort("taken_at", "hotkey"))


def _snapshot(tables: Tables, row: SubmissionRow) -> Metagraph:
    """The snapshot whose slots the plan was made for."""
    if (subnet := snapshot_of(tables, row)) is None:
        raise StoreError(f"no snapshot of block {row.plan.block} is there, for which submission {row.id} was planned")
    return subnet


def _scorers(tables: Tables, versions: Collection[ScorerVersion]) -> dict[ScorerVersion, Scorer]:
    """What the versions stand for. Raises StoreError for one that nobody described."""
    found = {version: ScoreTables(tables).described(version) for version in sorted(versions)}
    if unknown := [version for version, said in found.items() if said is None]:
        raise StoreError(f"nobody described scorer version {unknown[0]}")
    return {version: _scorer(said) for version, said in found.items() if said is not None}


def _scorer(said: Mapping[str, Any]) -> Scorer:
    parameters = json.loads(said["parameters"])
    return Scorer(said["profile"], parameters, said["code_version"], said["model_digest"])
