"""Submissions of weights and what the chain shows of them, as table rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import polars as pl

from loosh_pipeline.chain.records import SubmissionRow, plan_digest
from loosh_pipeline.chain.settlement import recycled
from loosh_pipeline.domain import ObservedWeights
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.tables import TableKey, Tables, WrittenTable

WEIGHTS: Mapping[str, Any] = {
    "submission_id": pl.Int64,
    "netuid": pl.Int32,
    "block": pl.UInt64,
    "version_key": pl.UInt64,
    "digest": pl.String,
    "submitted_at": UTC_MS,
    "state": pl.String,
    "success": pl.Boolean,
    "included_block": pl.UInt64,
    "extrinsic_hash": pl.String,
    "commit_reveal": pl.Boolean,
    "error_code": pl.String,
    "error": pl.String,
    "reveal_round": pl.UInt64,
    "uid": pl.Int32,
    "hotkey": pl.String,
    "weight": pl.Float64,
}

DROPPED: Mapping[str, Any] = {
    "submission_id": pl.Int64,
    "netuid": pl.Int32,
    "block": pl.UInt64,
    "submitted_at": UTC_MS,
    "hotkey": pl.String,
    "reason": pl.String,
}

RECEIPTS: Mapping[str, Any] = {
    "submission_id": pl.Int64,
    "state": pl.String,
    "reason": pl.String,
    "validator": pl.String,
    "observed_block": pl.UInt64,
    "last_update": pl.UInt64,
    "observed_at": UTC_MS,
    "uid": pl.Int32,
    "hotkey": pl.String,
    "planned": pl.Float64,
    "observed": pl.Float64,
    "uid_state": pl.String,
}

RECYCLED = "recycled"
"""A weight on a slot that somebody else holds now, or that was registered anew: the chain masks it."""
NOT_OURS = "not ours"
"""A weight on the chain that is not in the plan."""


def write_submission(tables: Tables, row: SubmissionRow) -> WrittenTable:
    """Write the tables of a submission as it stands; those of an earlier state of it give way."""
    key = submission_key(row)
    tables.write("weights_dropped", key, dropped_frame(row))
    return tables.write("weights", key, weights_frame(row))


def submission_key(row: SubmissionRow) -> TableKey:
    """Under which `weights` and `weights_dropped` of a submission lie."""
    return TableKey.of(f"{row.created_at:%Y%m%dT%H%M%S%f}-{row.id}", row.created_at)


def weights_frame(row: SubmissionRow) -> pl.DataFrame:
    """One row for every weight of a submission, with what is known of the whole repeated on each."""
    plan = row.plan
    about = (
        asdict(row.submission())
        | _about(row)
        | {
            "version_key": plan.version_key,
            "digest": plan_digest(plan),
            "state": row.state.value,
        }
    )
    rows = [about | {"uid": uid, "hotkey": plan.hotkeys[uid], "weight": w} for uid, w in plan.weights.items()]
    return pl.DataFrame(rows, schema=WEIGHTS)


def dropped_frame(row: SubmissionRow) -> pl.DataFrame:
    """One row for everybody who was proposed and has no weight, with why."""
    rows = [_about(row) | {"hotkey": hotkey, "reason": reason} for hotkey, reason in sorted(row.plan.dropped.items())]
    return pl.DataFrame(rows, schema=DROPPED)


def _about(row: SubmissionRow) -> dict[str, Any]:
    return {
        "submission_id": row.id,
        "netuid": row.plan.netuid,
        "block": row.plan.block,
        "submitted_at": row.created_at,
    }


def receipts_frame(row: SubmissionRow, observed: ObservedWeights, observed_at: datetime) -> pl.DataFrame:
    """One row for every uid that is in the plan or on the chain: what was set, and what is there."""
    plan, gone = row.plan, recycled(row.plan, observed)
    about = {
        "submission_id": row.id,
        "state": row.state.value,
        "reason": row.reason,
        "validator": observed.hotkey,
        "observed_block": observed.block,
        "last_update": observed.last_update,
        "observed_at": observed_at,
    }
    rows = [
        about
        | {
            "uid": uid,
            "hotkey": plan.hotkeys.get(uid, ""),
            "planned": plan.weights.get(uid, 0.0),
            "observed": observed.weights.get(uid, 0.0),
            "uid_state": RECYCLED if uid in gone else row.state.value if uid in plan.weights else NOT_OURS,
        }
        for uid in sorted(plan.weights.keys() | observed.weights.keys())
    ]
    return pl.DataFrame(rows, schema=RECEIPTS)
