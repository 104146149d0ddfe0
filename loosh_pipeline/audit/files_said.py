"""Which tables a receipt was read from, and the digests by which anybody can tell that they are the same still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loosh_pipeline.audit.epochs import EpochTables
from loosh_pipeline.audit.receipt import FileSaid, RoundSaid
from loosh_pipeline.store.score_tables import PAIRS, SCORES
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weigh_records import COUNTED_ROUNDS, EMISSION_TERMS, PROPOSAL_INPUTS

OF_WEIGHTS = ("weights", "weights_dropped")
OF_PROPOSAL = ("weight_proposals", "policy_acts", PROPOSAL_INPUTS)
OF_EMISSIONS = ("emissions", "sources", "settled_scores", COUNTED_ROUNDS, EMISSION_TERMS, "rounds_left_out")
OF_ROUND = (SCORES, PAIRS)
OF_CHALLENGE = ("miner_responses", "embeddings")


def files_said(tables: Tables, where: EpochTables, rounds: Iterable[RoundSaid]) -> tuple[FileSaid, ...]:
    """Those of the epoch that are there, and those of some rounds."""
    found = (_said(tables, asset, key) for asset, key in [*_of_epoch(where), *_of_rounds(rounds)])
    return tuple(each for each in found if each is not None)


def _of_epoch(where: EpochTables) -> Iterator[tuple[str, TableKey]]:
    for assets, key in ((OF_WEIGHTS, where.weights), (OF_PROPOSAL, where.proposal), (OF_EMISSIONS, where.emissions)):
        if key is not None:
            yield from ((asset, key) for asset in assets)


def _of_rounds(rounds: Iterable[RoundSaid]) -> Iterator[tuple[str, TableKey]]:
    for each in rounds:
        key = TableKey.of(each.challenge_id, each.at)
        scored = TableKey(key.day, key.name, each.scorer_version)
        yield from ((asset, scored) for asset in OF_ROUND)
        yield from ((asset, key) for asset in OF_CHALLENGE)


def _said(tables: Tables, asset: str, key: TableKey) -> FileSaid | None:
    """None for a table that is not there (any more)."""
    if not tables.exists(asset, key):
        return None
    found = tables.describe(asset, key)
    return FileSaid(asset, key.day.isoformat(), key.file, found.rows, found.sha256)
