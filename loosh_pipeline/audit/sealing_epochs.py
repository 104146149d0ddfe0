"""Sealing what was submitted as weights: each submission once, by the hotkey that it was made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from loosh_pipeline.audit.gathering import content_of
from loosh_pipeline.audit.sealing import Signs, seal_of, signed
from loosh_pipeline.chain.records import NEVER_IN, SubmissionRow
from loosh_pipeline.domain import Block
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.accepted_range import to_remember
from loosh_pipeline.store.seals import KeptSeal, is_sealed, keep_seal, seal_of_submission
from loosh_pipeline.store.tables import Tables


@dataclass(frozen=True, slots=True)
class NotSealed:
    """Why a submission has no seal."""

    number: int
    reason: str


def unsealed(tables: Tables, rows: Sequence[SubmissionRow]) -> list[SubmissionRow]:
    """Those that went to the chain, or may have, and have no seal; the oldest first."""
    return [row for row in reversed(rows) if row.state not in NEVER_IN and not is_sealed(tables, row)]


def seal(
    tables: Tables, inbox: Engine, row: SubmissionRow, signer: Signs, block: Block, now: datetime, release: str
) -> KeptSeal | NotSealed:
    """Gather what decided a submission, seal it and keep the seal; returns the one that is kept.

    `block`: the newest of the chain. Nothing is told before it is kept, so whoever is killed here seals again: the same
    root, of records that do not change. Somebody who sealed it meanwhile was first, and that seal stays.
    """
    try:
        content = content_of(tables, inbox, row)
    except StoreError as error:
        return NotSealed(row.id, str(error))
    made = seal_of(content, sealed_at=now, sealed_block=block, release=release)
    kept = KeptSeal(signed(made, signer), to_remember(content.acceptances))
    if keep_seal(tables, row, kept).existed and (first := seal_of_submission(tables, row)) is not None:
        return first
    return kept
