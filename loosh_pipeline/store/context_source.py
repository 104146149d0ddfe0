"""The scoring context of the stored rounds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from functools import cache
from itertools import chain, islice

import numpy as np

from loosh_pipeline.domain import Outcome
from loosh_pipeline.embedding.round_vectors import RoundVectors
from loosh_pipeline.scoring.context import ScoringContext, build_context
from loosh_pipeline.scoring.vectors import Vectors, mean_direction
from loosh_pipeline.store.frames import responses_of
from loosh_pipeline.store.score_tables import CANARY_SCORES
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.vector_frames import from_frame


def recent_context(
    tables: Tables, until: datetime, limit: int, without: Collection[TableKey] = ()
) -> tuple[ScoringContext, str] | None:
    """The context of the newest `limit` rounds, by day, and the embedding model that their vectors are of.

    `without`: canaries, which say nothing of what others are asked; those that have scores are known by where these
    lie. The model is that of the newest round; rounds of another one are passed over. None when nothing is embedded.
    """
    newest_first = tables.newest_first("embeddings", until.date())

    @cache
    def canaries_of(day: date) -> frozenset[str]:
        return frozenset(TableKey.named(day, each.name).name for each in tables.files(CANARY_SCORES, day))

    keys = (key for key in newest_first if key not in without and key.name not in canaries_of(key.day))
    embedded = ((key, from_frame(tables.read("embeddings", key))) for key in keys)
    newest = next(embedded, None)
    if newest is None:
        return None
    digest, dim = newest[1].model_digest, newest[1].vectors.shape[1]
    same = (each for each in chain([newest], embedded) if each[1].model_digest == digest)
    return build_context((_answers(tables, *each) for each in islice(same, limit)), dim), digest


def _answers(tables: Tables, key: TableKey, stored: RoundVectors) -> tuple[Sequence[str], Vectors]:
    """The texts of a round's answers, and one unit row for each that has windows."""
    windows: dict[str, list[int]] = {}
    for i, place in enumerate(stored.keys):
        if place.kind == "chunk":
            windows.setdefault(place.hotkey, []).append(i)
    vectors = [mean_direction(stored.vectors[rows].astype(np.float64)) for _, rows in sorted(windows.items())]
    responses = responses_of(tables.read("miner_responses", key))
    texts = [each.text for each in responses if each.outcome is Outcome.ANSWERED]
    return texts, np.array(vectors).reshape(-1, stored.vectors.shape[1])
