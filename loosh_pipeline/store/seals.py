"""Seals on epochs, each kept once: whatever happens later, the first one that was written is the one.

audit_seals/day=…/SUBMISSION.parquet    the seal and its signature as JSON, and what may have changed since it was made
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import polars as pl

from loosh_pipeline.audit.sealing import SignedSeal
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.errors import StoreError
from loosh_pipeline.plain import plain, typed
from loosh_pipeline.store.frames import UTC_MS
from loosh_pipeline.store.tables import TableKey, Tables, WrittenTable
from loosh_pipeline.store.weight_frames import submission_key

SEALS = "audit_seals"
SEAL: Mapping[str, Any] = {
    "number": pl.Int64,
    "root": pl.String,
    "sealed_at": UTC_MS,
    "sealed_block": pl.UInt64,
    "sample_block": pl.UInt64,
    "record": pl.String,
    "became": pl.String,
}
"""One row. `record`: the seal with its signature. `became`: of accepted challenges, by number in their chain."""


@dataclass(frozen=True, slots=True)
class KeptSeal:
    """A seal as it is kept, and what had become of accepted challenges of which only that moment could tell."""

    signed: SignedSeal
    became: Mapping[int, str] = field(default_factory=dict)


def is_sealed(tables: Tables, row: SubmissionRow) -> bool:
    return tables.exists(SEALS, submission_key(row))


def keep_seal(tables: Tables, row: SubmissionRow, kept: KeptSeal) -> WrittenTable:
    """Keep the seal of a submission, unless it has one: then that stays, and the table says `existed`."""
    seal = kept.signed.seal
    values = {
        "number": seal.epoch.number,
        "root": seal.root,
        "sealed_at": seal.sealed_at,
        "sealed_block": seal.sealed_block,
        "sample_block": seal.sample_block,
        "record": _json(plain(kept.signed)),
        "became": _json({str(seq): said for seq, said in sorted(kept.became.items())}),
    }
    return tables.write_once(SEALS, submission_key(row), pl.DataFrame([values], schema=SEAL))


def seal_of_submission(tables: Tables, row: SubmissionRow) -> KeptSeal | None:
    """The seal of a submission; None where it has none. Raises StoreError for one that cannot be read."""
    key = submission_key(row)
    return read_seal(tables, key) if tables.exists(SEALS, key) else None


def read_seal(tables: Tables, key: TableKey) -> KeptSeal:
    """Raises StoreError for a seal that is not there or cannot be read."""
    row = tables.read(SEALS, key).row(0, named=True)
    try:
        signed: SignedSeal = typed(SignedSeal, json.loads(row["record"]))
        return KeptSeal(signed, {int(seq): said for seq, said in json.loads(row["became"]).items()})
    except (ValueError, TypeError) as error:
        raise StoreError(f"{SEALS}/{key.name} cannot be read: {error}; another release wrote it") from error


def newest_seals(tables: Tables, most: int) -> list[SignedSeal]:
    """The seals that were made last, the newest submission first."""
    return [read_seal(tables, key).signed for key in islice(tables.newest_first(SEALS), most)]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
