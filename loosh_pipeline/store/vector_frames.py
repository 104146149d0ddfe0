"""The vectors of one round as table rows, and back."""

from __future__ import annotations

import numpy as np
import polars as pl

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.embedding.round_vectors import STORED, RoundVectors, VectorKey
from loosh_pipeline.errors import ScoringError

SCHEMA = pl.Schema(
    {
        "challenge_id": pl.String,
        "hotkey": pl.String,
        "kind": pl.String,
        "position": pl.Int32,
        "text_sha256": pl.String,
        "vector": pl.Binary,
        "model_digest": pl.String,
    }
)


def to_frame(stored: RoundVectors) -> pl.DataFrame:
    """One table row per vector, with columns as in `SCHEMA`; a vector is its little-endian float16 bytes."""
    keys = stored.keys
    return pl.DataFrame(
        {
            "challenge_id": [stored.challenge_id] * len(keys),
            "hotkey": [key.hotkey for key in keys],
            "kind": [key.kind for key in keys],
            "position": [key.position for key in keys],
            "text_sha256": [key.text_sha256 for key in keys],
            "vector": [row.tobytes() for row in stored.vectors.astype(STORED)],
            "model_digest": [stored.model_digest] * len(keys),
        },
        schema=SCHEMA,
    )


def from_frame(frame: pl.DataFrame) -> RoundVectors:
    """The inverse of `to_frame`. Raises ScoringError for rows of several challenges, models or widths."""
    challenge_id = _only(frame, "challenge_id")
    digest = _only(frame, "model_digest")
    stored: list[bytes] = frame["vector"].to_list()
    widths = {len(vector) for vector in stored}
    if len(widths) != 1 or widths.pop() % STORED.itemsize:
        raise ScoringError(f"the vectors of challenge {challenge_id} differ in width; materialize its embeddings again")
    vectors = np.frombuffer(b"".join(stored), dtype=STORED).reshape(len(stored), -1)
    columns = (frame[name].to_list() for name in VectorKey._fields)
    keys = tuple(map(VectorKey, *columns))
    return RoundVectors(ChallengeId(challenge_id), keys, vectors, digest)


def _only(frame: pl.DataFrame, column: str) -> str:
    values = list(set(frame[column].to_list()))  # of some hundred rows: a query of polars takes longer
    if len(values) != 1:
        values.sort(key=str)
        raise ScoringError(f"a round needs vectors of one {column}, these rows have {len(values)}: {values[:5]}")
    return str(values[0])
