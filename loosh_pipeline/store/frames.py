"""Domain values as table rows, and back. Column names are field names; nested JSON is kept as text.

Quantities that are u64 on the chain are UInt64 here: the chain holds 2**64 - 1 where it means "never".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import polars as pl

from loosh_pipeline.domain import (
    Block,
    Emission,
    Hotkey,
    Metagraph,
    Mode,
    NetworkView,
    Neuron,
    OneSource,
    Outcome,
    Proposal,
    Response,
    RuleAct,
    Usage,
)
from loosh_pipeline.errors import StoreError
from loosh_pipeline.policy.inputs import Earned

UTC_MS = pl.Datetime("ms", "UTC")

RESPONSES: Mapping[str, Any] = {
    "challenge_id": pl.String,
    "hotkey": pl.String,
    "coldkey": pl.String,
    "uid": pl.Int32,
    "ip": pl.String,
    "port": pl.Int32,
    "outcome": pl.String,
    "detail": pl.String,
    "text": pl.String,
    "elapsed_ms": pl.Float64,
    "handshake_ms": pl.Float64,
    "finish_reason": pl.String,
    "tool_calls": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "total_tokens": pl.Int64,
    "sha256": pl.String,
    "asked_at": UTC_MS,
    "metagraph_block": pl.UInt64,
}

METAGRAPH: Mapping[str, Any] = {
    "netuid": pl.Int32,
    "block": pl.UInt64,
    "block_hash": pl.String,
    "spec_version": pl.UInt32,
    "taken_at": UTC_MS,
    "tempo_blocks": pl.UInt64,
    "activity_cutoff_blocks": pl.UInt64,
    "weights_rate_limit_blocks": pl.UInt64,
    "min_allowed_weights": pl.Int32,
    "weights_version_key": pl.UInt64,
    "commit_reveal": pl.Boolean,
    "uid": pl.Int32,
    "hotkey": pl.String,
    "coldkey": pl.String,
    "ip": pl.String,
    "port": pl.Int32,
    "validator_permit": pl.Boolean,
    "stake": pl.Float64,
    "last_update": pl.UInt64,
    "registered_block": pl.UInt64,
    "reveal_period_epochs": pl.UInt64,
    "max_weight_share": pl.Float64,
    "stake_threshold": pl.Float64,
    "block_time": UTC_MS,
    "owner_hotkey": pl.String,
    "owner_coldkey": pl.String,
    "genesis_hash": pl.String,
}

NETWORK_VIEW: Mapping[str, Any] = {
    "taken_at": UTC_MS,
    "hotkey": pl.String,
    "validator": pl.Boolean,
    "sybil_score": pl.Float64,
    "priority_weight": pl.Float64,
}

EMISSIONS: Mapping[str, Any] = {
    "hotkey": pl.String,
    "asked": pl.Int64,
    "answered": pl.Int64,
    "paid": pl.Int64,
    "mean_payout": pl.Float64,
    "evidence": pl.Float64,
    "ramp": pl.Float64,
    "coverage": pl.Float64,
    "emission": pl.Float64,
    "weight": pl.Float64,
    "last_answered_at": UTC_MS,
}
ANSWERED: Mapping[str, Any] = {"answered_share": pl.Float64}
"""A column of `emissions` for people: nothing is decided by it."""
PAYROLL: Mapping[str, Any] = {
    "profile": pl.String,
    "rounds": pl.Int64,
    "made_at": UTC_MS,
    "lookback_h": pl.Float64,
    "versions": pl.List(pl.Struct({"scorer_version": pl.String, "rounds": pl.Int64})),
}
"""What every row of an `emissions` table says of the whole."""

SOURCES: Mapping[str, Any] = {
    "first": pl.String,
    "second": pl.String,
    "rounds": pl.Int64,
    "degree": pl.Float64,
    "same_address": pl.Boolean,
    "same_coldkey": pl.Boolean,
}

PROPOSAL: Mapping[str, Any] = {
    "made_at": UTC_MS,
    "block": pl.UInt64,
    "mode": pl.String,
    "profile": pl.String,
    "basis": pl.String,
    "rounds": pl.Int64,
    "overrides": pl.List(pl.String),
    "hotkey": pl.String,
    "share": pl.Float64,
}

POLICY_ACTS: Mapping[str, Any] = {
    "rule": pl.String,
    "hotkey": pl.String,
    "before": pl.Float64,
    "after": pl.Float64,
    "reason": pl.String,
}


def responses_frame(responses: Sequence[Response], **about: Any) -> pl.DataFrame:
    """One row for every miner asked; `about` (asked_at, metagraph_block) is repeated on each."""
    rows = []
    for response in responses:
        row = asdict(response) | asdict(response.usage) | about
        row["tool_calls"] = None if response.tool_calls is None else json.dumps(response.tool_calls)
        del row["usage"]
        rows.append(row)
    return pl.DataFrame(rows, schema=RESPONSES)


def responses_of(frame: pl.DataFrame) -> tuple[Response, ...]:
    """The responses of a `miner_responses` table, in the order in which they were recorded."""
    return tuple(_response(row) for row in frame.iter_rows(named=True))


def _response(row: dict[str, Any]) -> Response:
    usage = Usage(row["prompt_tokens"], row["completion_tokens"], row["total_tokens"])
    values = {f.name: row[f.name] for f in fields(Response) if f.name in row}
    return Response(
        **values
        | {
            "outcome": Outcome(row["outcome"]),
            "tool_calls": None if row["tool_calls"] is None else tuple(json.loads(row["tool_calls"])),
            "usage": usage,
        }
    )


def metagraph_frame(metagraph: Metagraph) -> pl.DataFrame:
    """One row for every neuron, with what describes the subnet repeated on each."""
    subnet = {f.name: getattr(metagraph, f.name) for f in fields(Metagraph) if f.name != "neurons"}
    rows = [subnet | asdict(neuron) for neuron in metagraph.neurons]
    return pl.DataFrame(rows, schema=METAGRAPH)


def metagraph_of(frame: pl.DataFrame) -> Metagraph:
    """Raises StoreError for an empty table, which no registered validator can have written."""
    rows = frame.to_dicts()
    if not rows:
        raise StoreError("the metagraph table is empty: no neuron is registered; check NETUID")
    subnet = {f.name: rows[0][f.name] for f in fields(Metagraph) if f.name in rows[0]}
    names = [f.name for f in fields(Neuron) if f.name in rows[0]]
    neurons = tuple(Neuron(**{name: row[name] for name in names}) for row in rows)
    return Metagraph(**subnet, neurons=neurons)


def network_view_frame(view: NetworkView) -> pl.DataFrame:
    """One row for every hotkey that the Challenge API spoke of; empty when it spoke of none."""
    spoken_of = sorted({*view.validators, *view.sybil_scores, *view.priority_weights})
    rows = [
        {
            "taken_at": view.taken_at,
            "hotkey": hotkey,
            "validator": hotkey in view.validators,
            "sybil_score": view.sybil_scores.get(hotkey),
            "priority_weight": view.priority_weights.get(hotkey),
        }
        for hotkey in spoken_of
    ]
    return pl.DataFrame(rows, schema=NETWORK_VIEW)


def network_view_of(frame: pl.DataFrame) -> NetworkView | None:
    """None for a table without rows: nothing was said of anybody."""
    rows = frame.to_dicts()
    if not rows:
        return None
    scores = ((Hotkey(row["hotkey"]), row["sybil_score"]) for row in rows)
    weights = ((Hotkey(row["hotkey"]), row["priority_weight"]) for row in rows)
    return NetworkView(
        taken_at=rows[0]["taken_at"],
        validators=frozenset(Hotkey(row["hotkey"]) for row in rows if row["validator"]),
        sybil_scores={hotkey: score for hotkey, score in scores if score is not None},
        priority_weights={hotkey: weight for hotkey, weight in weights if weight is not None},
    )


def emissions_frame(
    emissions: Sequence[Emission],
    profile: str,
    rounds: int,
    answered: Mapping[Hotkey, float] | None = None,
    **about: Any,
) -> pl.DataFrame:
    """One row for every miner asked in the lookback, under which profile and over how many rounds.

    `answered`: which part of its asks each answered, counted by age. `about` (made_at, lookback_h, versions) is
    repeated on each; of the versions, how many rounds each scored.
    """
    versions = [{"scorer_version": v, "rounds": count} for v, count in about.pop("versions", {}).items()]
    whole = {"profile": profile, "rounds": rounds, "versions": versions, **about}
    shares: Mapping[Hotkey, float] = answered or {}
    rows = [asdict(each) | {"answered_share": shares.get(each.hotkey)} | whole for each in emissions]
    return pl.DataFrame(rows, schema={**EMISSIONS, **ANSWERED, **PAYROLL})


def emissions_of(frame: pl.DataFrame) -> tuple[Emission, ...]:
    """Tables of earlier versions lack columns; those have defaults."""
    names = [name for name in EMISSIONS if name in frame.columns]
    return tuple(Emission(**row) for row in frame.select(names).iter_rows(named=True))


def answered_shares_of(frame: pl.DataFrame) -> dict[Hotkey, float]:
    """Which part of its asks each miner answered, by an `emissions` table; of nobody in one that does not say."""
    if "answered_share" not in frame.columns:
        return {}
    rows = frame.select("hotkey", "answered_share").drop_nulls().iter_rows()
    return {Hotkey(hotkey): share for hotkey, share in rows}


def sources_frame(sources: Sequence[OneSource]) -> pl.DataFrame:
    return pl.DataFrame([asdict(source) for source in sources], schema=SOURCES)


def earned_of(emissions: pl.DataFrame, sources: pl.DataFrame) -> Earned:
    """What an `emissions` table and the `sources` beside it hold; nothing where nobody was asked."""
    if emissions.is_empty():
        return Earned()
    about = emissions.row(0, named=True)
    return Earned(
        at=about.get("made_at"),
        lookback_h=about.get("lookback_h") or 0.0,
        rounds=about["rounds"],
        emissions=emissions_of(emissions),
        sources=tuple(OneSource(**row) for row in sources.iter_rows(named=True)),
        versions={each["scorer_version"]: each["rounds"] for each in about.get("versions") or ()},
    )


NOBODY = Hotkey("")
"""Hotkey of the one row of a proposal for nobody."""


def proposal_frame(proposal: Proposal) -> pl.DataFrame:
    """One row for every miner that was considered, with what describes the proposal repeated on each."""
    about = {f.name: getattr(proposal, f.name) for f in fields(Proposal) if f.name not in ("shares", "acts")}
    shares = sorted(proposal.shares.items()) or [(NOBODY, 0.0)]
    return pl.DataFrame([about | {"hotkey": hotkey, "share": share} for hotkey, share in shares], schema=PROPOSAL)


def policy_acts_frame(proposal: Proposal) -> pl.DataFrame:
    return pl.DataFrame([asdict(act) for act in proposal.acts], schema=POLICY_ACTS)


def proposal_of(shares: pl.DataFrame, acts: pl.DataFrame) -> Proposal:
    """Raises StoreError for an empty table, which no proposal is written as."""
    rows = shares.to_dicts()
    if not rows:
        raise StoreError("the table of the newest weight proposal is empty; materialize weight_proposal again")
    about = {f.name: rows[0][f.name] for f in fields(Proposal) if f.name in rows[0]}
    return Proposal(
        **about
        | {
            "block": Block(rows[0]["block"]),
            "mode": Mode(rows[0]["mode"]),
            "overrides": tuple(rows[0]["overrides"]),
            "shares": {Hotkey(row["hotkey"]): row["share"] for row in rows if row["hotkey"] != NOBODY},
            "acts": tuple(RuleAct(**row) for row in acts.iter_rows(named=True)),
        }
    )
