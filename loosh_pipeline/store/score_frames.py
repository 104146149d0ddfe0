"""Scores, pairs, settlements and scoring contexts as table rows, and back. Column names are field names.

A score row holds its round's values too (`ROUND` and, from the network's method, `RoundMeasure`), so that it can be
explained and recomputed from the tables alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome, ScorerVersion
from loosh_pipeline.errors import StoreError
from loosh_pipeline.scoring.accusations import Accusation
from loosh_pipeline.scoring.columns import WindowColumns
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.pairs import PairEvidence
from loosh_pipeline.scoring.result import Measure, RoundMeasure, RoundScores, Score
from loosh_pipeline.scoring.signals import Ints
from loosh_pipeline.scoring.window import SettledColumns, SettledScore
from loosh_pipeline.store.frames import UTC_MS

ROUND = ("challenge_id", "profile", "scorer_version", "context_digest", "typical_score")
_KINDS: Mapping[str, Any] = {
    "challenge_id": pl.String,
    "profile": pl.String,
    "scorer_version": pl.String,
    "context_digest": pl.String,
    "hotkey": pl.String,
    "outcome": pl.String,
    "scored": pl.Boolean,
    "reason": pl.String,
    "words": pl.Int64,
    "copies": pl.List(pl.String),
    "sources": pl.List(pl.String),
    "first": pl.String,
    "second": pl.String,
    "same_address": pl.Boolean,
    "same_coldkey": pl.Boolean,
    "outlier": pl.Boolean,
    "cluster": pl.Int64,
    "length_kept": pl.Boolean,
    "in_consensus": pl.Boolean,
    "removed_by": pl.String,
    "consensus_reached": pl.Boolean,
    "garbage_alert": pl.Boolean,
}


def _schema(names: Iterable[str]) -> dict[str, Any]:
    return {name: _KINDS.get(name, pl.Float64) for name in names}


def _names(*kinds: type[Any]) -> list[str]:
    return [field.name for kind in kinds for field in fields(kind) if field.name != "measure"]


_OF_ROUND, _OF_SCORE, _OF_MEASURE, _OF_PAIR = map(_names, (RoundMeasure, Score, Measure, PairEvidence))
SCORE_COLUMNS = (*_OF_SCORE, *_OF_MEASURE)
RECEIVED = {"received_at": UTC_MS}
INPUTS_DIGEST = "inputs_digest"
"""Of everything that the round was scored from. Rows of releases before it lack it; null is the same."""
SCORES: Mapping[str, Any] = (
    _schema([*ROUND, *_names(RoundMeasure)]) | RECEIVED | {INPUTS_DIGEST: pl.String} | _schema(SCORE_COLUMNS)
)
PAIRS: Mapping[str, Any] = _schema(["challenge_id", "scorer_version"]) | RECEIVED | _schema(_names(PairEvidence))
SETTLED_FROM: Mapping[str, Any] = {
    name: SCORES[name]
    for name in (
        *("challenge_id", "profile", "scorer_version", "received_at", "hotkey", "outcome", "words", "elapsed_ms"),
        *("relevance", "baseline", "payout", "quality_threshold", INPUTS_DIGEST),
    )
}
"""The columns of scores that a window is settled and paid from."""
PAIRED_FROM: Mapping[str, Any] = {name: kind for name, kind in PAIRS.items() if name not in RECEIVED}
SETTLED: Mapping[str, Any] = _schema(_names(SettledScore))
ACCUSATIONS: Mapping[str, Any] = _schema(_names(Accusation)) | {"rounds": pl.Int64, "report": pl.String}
CONTEXT: Mapping[str, Any] = {
    "rounds": pl.Int64,
    "words": pl.List(pl.String),
    "rounds_seen": pl.List(pl.Int64),
    "background": pl.Binary,
    "digest": pl.String,
    "model_digest": pl.String,
    "built_at": UTC_MS,
}


class Scored(NamedTuple):
    """A scored round, when its challenge came, and the digest of what it was scored from, where that is known."""

    result: RoundScores
    received_at: datetime
    inputs_digest: str | None = None


def scores_frame(result: RoundScores, received_at: datetime, inputs_digest: str | None = None) -> pl.DataFrame:
    """One row for every miner asked."""
    return scores_frames([Scored(result, received_at, inputs_digest)])


def scores_frames(rounds: Sequence[Scored]) -> pl.DataFrame:
    """The rows of many rounds, one after the other."""
    rows = [row for each in rounds for row in _score_rows(each)]
    columns = zip(*rows, strict=True) if rows else [()] * len(SCORES)
    return _frame(dict(zip(SCORES, columns, strict=True)), SCORES)


def _score_rows(scored: Scored) -> Iterator[tuple[Any, ...]]:
    """Values in the order of `SCORES`."""
    result, *when_and_whereof = scored
    about = (*(getattr(result, name) for name in ROUND), *_values(_OF_ROUND, result.measure), *when_and_whereof)
    for score in result.scores:
        yield *about, *_values(_OF_SCORE, score), *_values(_OF_MEASURE, score.measure)


def _values(names: Sequence[str], value: object) -> Sequence[Any]:
    return [None] * len(names) if value is None else [getattr(value, name) for name in names]


def pairs_frame(result: RoundScores, received_at: datetime) -> pl.DataFrame:
    """One row for every two answers that were compared."""
    return pairs_frames([Scored(result, received_at)])


def pairs_frames(rounds: Sequence[Scored]) -> pl.DataFrame:
    """The rows of many rounds, one after the other."""
    pairs = [pair for each in rounds for pair in each.result.pairs]
    about: dict[str, list[Any]] = {"challenge_id": [], "scorer_version": [], "received_at": []}
    for result, received_at, _ in rounds:
        for name, value in zip(about, (result.challenge_id, result.scorer_version, received_at), strict=True):
            about[name] += [value] * len(result.pairs)
    return _frame(about | {name: [getattr(pair, name) for pair in pairs] for name in _OF_PAIR}, PAIRS)


def _frame(columns: Mapping[str, Sequence[Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    """From columns of plain values: a third of the time that a row at a time takes."""
    return pl.DataFrame([pl.Series(name, columns[name], dtype=kind) for name, kind in schema.items()])


def scores_of(scores: pl.DataFrame, pairs: pl.DataFrame) -> RoundScores:
    """The scores of one round. Raises StoreError for an empty table."""
    if scores.is_empty():
        raise StoreError("the score table of this challenge is empty: nobody was asked; materialize consensus_scores")
    first = scores.row(0, named=True)
    found = first["consensus_score"] is not None
    return RoundScores(
        challenge_id=ChallengeId(first["challenge_id"]),
        profile=first["profile"],
        scorer_version=ScorerVersion(first["scorer_version"]),
        context_digest=first["context_digest"],
        scores=tuple(_score(row) for row in scores.to_dicts()),
        pairs=tuple(PairEvidence(**row) for row in pairs.select(_names(PairEvidence)).to_dicts()),
        measure=RoundMeasure(**{name: first[name] for name in _names(RoundMeasure)}) if found else None,
        typical_score=first["typical_score"],
    )


def _score(row: Mapping[str, Any]) -> Score:
    measured = row["quality_threshold"] is not None
    values = {name: row[name] for name in _names(Score)}
    return Score(
        **values
        | {
            "hotkey": Hotkey(row["hotkey"]),
            "outcome": Outcome(row["outcome"]),
            "copies": tuple(row["copies"]),
            "measure": Measure(**{name: row[name] for name in _names(Measure)}) if measured else None,
        }
    )


def settled_frame(columns: WindowColumns, settled: SettledColumns) -> pl.DataFrame:
    """One row for every answer that was compared, by challenge and hotkey."""
    hotkeys = pl.Series(columns.hotkeys, dtype=pl.String)
    whose = {
        "challenge_id": pl.Series(columns.challenges, dtype=pl.String).gather(columns.round[settled.rows]),
        "hotkey": hotkeys.gather(columns.miner[settled.rows]),
        "sources": _lists(settled.source_of, hotkeys.gather(settled.source), len(settled.rows)),
    }
    figures = {name: getattr(settled, name) for name in SETTLED if name not in whose}
    return pl.DataFrame(whose | figures).select(pl.col(name).cast(kind) for name, kind in SETTLED.items())


def _lists(of: Ints, values: pl.Series, count: int) -> pl.Series:
    """`count` lists, of which `of` says to which a value belongs; both sorted."""
    rows = pl.DataFrame({"of": of, "values": values})
    lists = rows.group_by("of", maintain_order=True).agg("values")
    every = pl.DataFrame({"of": np.arange(count)}).join(lists, on="of", how="left", maintain_order="left")
    return every["values"].fill_null(pl.Series([[]], dtype=pl.List(pl.String)))


def accusations_frame(accusations: Sequence[Accusation], report: str | None) -> pl.DataFrame:
    """One row for every accused pair; each holds the whole record for the network, as JSON."""
    rows = [asdict(each) | {"report": report} for each in accusations]
    return pl.DataFrame(rows, schema=ACCUSATIONS)


def context_frame(context: ScoringContext, model_digest: str, built_at: datetime) -> pl.DataFrame:
    """A scoring context in one row; its background as little-endian float64 bytes."""
    background = context.background
    row = {
        "rounds": context.rounds,
        "words": list(context.document_frequency),
        "rounds_seen": list(context.document_frequency.values()),
        "background": None if background is None else background.astype("<f8").tobytes(),
        "digest": context.digest,
        "model_digest": model_digest,
        "built_at": built_at,
    }
    return pl.DataFrame([row], schema=CONTEXT)


def context_of(frame: pl.DataFrame) -> ScoringContext:
    """The inverse of `context_frame`. Raises StoreError when the content is not that of its digest."""
    row = frame.row(0, named=True)
    background = None if row["background"] is None else np.frombuffer(row["background"], dtype="<f8")
    context = ScoringContext.of(row["rounds"], dict(zip(row["words"], row["rounds_seen"], strict=True)), background)
    if context.digest != row["digest"]:
        raise StoreError(f"a scoring context says its digest is {row['digest'][:12]}, but is {context.digest[:12]}")
    return context
