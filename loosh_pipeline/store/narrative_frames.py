"""The narrative of a round as a table row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.llm.port import Usage
from loosh_pipeline.narrative import Narrative

NARRATIVES: Mapping[str, Any] = {
    "challenge_id": pl.String,
    "source": pl.String,
    "text": pl.String,
    "composed": pl.String,
    "provider": pl.String,
    "model": pl.String,
    "finish_reason": pl.String,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "total_tokens": pl.Int64,
    "elapsed_ms": pl.Float64,
}
"""Tables of before have the first three. `composed` is the text from the figures alone; what follows is null where no
model answered."""


def narrative_frame(challenge_id: ChallengeId, narrative: Narrative) -> pl.DataFrame:
    """One row."""
    said = narrative.generation
    row = {
        "challenge_id": challenge_id,
        "source": narrative.source,
        "text": narrative.text,
        "composed": narrative.composed or narrative.text,
        "provider": narrative.provider,
        "model": said and said.model,
        "finish_reason": said and said.finish_reason,
        "elapsed_ms": said and said.elapsed_ms,
        **asdict(said.usage if said else Usage()),
    }
    return pl.DataFrame([row], schema=NARRATIVES)
