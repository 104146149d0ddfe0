"""One round as the scorer sees it: a question, and everyone asked, with stored vectors in place of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome
from loosh_pipeline.scoring.vectors import Vectors

REPLIED = (Outcome.ANSWERED, Outcome.EMPTY)
"""Outcomes that are a reply to the network's method, which an empty text is."""


@dataclass(frozen=True, eq=False)
class RoundResponse:
    """One miner asked. `chunks` (c, d) and `sentences` (s, d) are the rows of its answer; none when it gave none.

    `total_ms`: time from asking to the answer, handshake included, which orders arrivals; `elapsed_ms` is without it.
    `ip` and `coldkey` are empty when unknown.
    """

    hotkey: Hotkey
    outcome: Outcome
    text: str
    elapsed_ms: float | None
    chunks: Vectors
    sentences: Vectors
    uid: int = 0
    total_ms: float | None = None
    ip: str = ""
    coldkey: str = ""


@dataclass(frozen=True, eq=False)
class Round:
    """A challenge with the responses of the miners asked; `prompt_vector` is (d,), the direction of the whole prompt.

    `text_vectors` holds the unit row of every text that the network's method reads (`network.round.texts_to_embed`);
    without any, its measure is not taken.
    Raises ValueError for a hotkey asked twice, a prompt without direction, or arrays of another width than d.
    """

    challenge_id: ChallengeId
    prompt_vector: Vectors
    responses: tuple[RoundResponse, ...]
    prompt: str = ""
    text_vectors: Mapping[str, Vectors] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        prompt = self.prompt_vector
        if prompt.ndim != 1 or not np.isfinite(prompt).all() or not prompt.any():
            raise ValueError(f"challenge {self.challenge_id}: the prompt vector must be (d,), finite and not zero")
        for response in self.responses:
            for name, rows in (("chunks", response.chunks), ("sentences", response.sentences)):
                if rows.ndim != 2 or rows.shape[1] != len(prompt):
                    raise ValueError(
                        f"challenge {self.challenge_id}: {name} of {response.hotkey} have shape {rows.shape}; "
                        f"expected (n, {len(prompt)}) like the prompt"
                    )
        twice = [hotkey for hotkey, n in Counter(r.hotkey for r in self.responses).items() if n > 1]
        if twice:
            raise ValueError(f"challenge {self.challenge_id}: {', '.join(twice)} asked more than once")
