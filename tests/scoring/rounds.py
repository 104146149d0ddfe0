"""Rounds for tests of the scorer: by hand in three dimensions, or drawn to look like a real one."""

from __future__ import annotations

from typing import Any

import numpy as np

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome
from loosh_pipeline.scoring.round import Round, RoundResponse
from loosh_pipeline.scoring.vectors import unit_rows

DIM = 24
QUESTION = np.eye(3)[0]


def reply(hotkey: str, text: str, vector: Any, **fields: Any) -> RoundResponse:
    """An answer whose one window and one sentence have `vector`, unless given."""
    row = np.atleast_2d(np.asarray(vector, dtype=float))
    defaults = {"outcome": Outcome.ANSWERED, "elapsed_ms": 1000.0, "chunks": row, "sentences": row}
    return RoundResponse(hotkey=Hotkey(hotkey), text=text, **(defaults | fields))


def failure(hotkey: str, outcome: Outcome, dim: int = 3) -> RoundResponse:
    none = np.zeros((0, dim))
    return RoundResponse(Hotkey(hotkey), outcome, "", None, none, none)


def round_of(*responses: RoundResponse, prompt: Any = QUESTION) -> Round:
    return Round(ChallengeId("c-1"), np.asarray(prompt, dtype=float), responses)


def realistic(seed: int, size: int) -> Round:
    """`size` honest answers of 60 to 120 words: alike in meaning, with wording of their own."""
    rng = np.random.default_rng(seed)
    question = np.eye(DIM)[0]
    topic = unit_rows(rng.normal(size=(1, DIM)))[0]
    responses = []
    for i in range(size):
        said = [f"w{k}" for k in rng.integers(0, 250, rng.integers(60, 120))]
        windows = unit_rows(question + topic + rng.normal(size=(2, DIM)) * 0.12)
        spoken = unit_rows(question * 0.5 + topic + rng.normal(size=(5, DIM)) * 0.2)
        elapsed_ms = float(rng.uniform(500, 5000))
        responses.append(
            reply(f"hk-{i}", " ".join(said), windows, chunks=windows, sentences=spoken, elapsed_ms=elapsed_ms)
        )
    return round_of(*responses, prompt=question)
