"""Builders of rounds for the network's scorer: from a worked case, from cosines, and at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.network.consensus import Candidates
from loosh_pipeline.scoring.network.round import NetworkRound, Node, Reply, texts_to_embed
from loosh_pipeline.scoring.vectors import Vectors, unit_rows

PROMPT = "Explain how vaccines train the immune system"


def rows_with(cosines: Any) -> Vectors:
    """Unit rows of which every two have the given cosine, (n, n) → (n, n)."""
    values, vectors = np.linalg.eigh(np.array(cosines, dtype=np.float64))
    return unit_rows(vectors * np.sqrt(np.clip(values, 0.0, None)))


def candidates(cosines: Any, **fields: Any) -> Candidates:
    """Replies with these cosines: of quality 1, one vote and ten words unless said otherwise."""
    n = len(cosines)
    values = {"quality": np.ones(n), "votes": np.ones(n), "words": np.full(n, 10)}
    values |= {name: np.array(value) for name, value in fields.items()}
    return Candidates(rows=rows_with(cosines), **values)


def round_from(case: Mapping[str, Any]) -> NetworkRound:
    """A worked case: uids 10, 20, …, hotkeys hk1, hk2, …, vectors of length 1."""
    texts = case["responses"]
    return NetworkRound(
        prompt=case.get("prompt", PROMPT),
        replies=tuple(
            Reply(10 * (i + 1), Hotkey(f"hk{i + 1}"), time, text)
            for i, (text, time) in enumerate(zip(texts, case.get("response_time_ms", []), strict=True))
        ),
        nodes={Hotkey(hotkey): Node(*node) for hotkey, node in case.get("node_map", {}).items()},
        vectors={text: unit_rows(np.array(row)) for text, row in case.get("embeddings", {}).items()},
    )


def recorded_round(case: Mapping[str, Any], vectors: Mapping[str, Vectors]) -> NetworkRound:
    """A round as it was recorded, in order of arrival."""
    return NetworkRound(
        prompt=case["prompt"],
        replies=tuple(
            Reply(miner["uid"], Hotkey(miner["hotkey"]), miner["response_time_ms"], miner["response_text"])
            for miner in case["miners"]
        ),
        nodes={Hotkey(hotkey): Node(*node) for hotkey, node in case["node_map"].items()},
        vectors=vectors,
    )


def planted_round(texts: Sequence[str], seed: int = 0, noise: float = 0.6, dim: int = 384) -> NetworkRound:
    """Replies after 1 s, 2 s, …, with single-precision vectors at random around one direction."""
    rng = np.random.default_rng(seed)
    needed = texts_to_embed(PROMPT, texts)
    centre = rng.normal(size=dim)
    rows = unit_rows(centre + noise * rng.normal(size=(len(needed), dim))).astype(np.float32)
    return NetworkRound(
        prompt=PROMPT,
        replies=tuple(Reply(i, Hotkey(f"hk{i}"), 1000.0 * (i + 1), text) for i, text in enumerate(texts)),
        nodes={},
        vectors=dict(zip(needed, rows, strict=True)),
    )


def prose(count: int, seed: int = 0, sentence_count: int = 8) -> list[str]:
    """Different texts of whole sentences."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefghijklmnoprstuvw"), size=size)) for size in rng.integers(3, 10, size=400)]

    def sentence() -> str:
        return " ".join(rng.choice(words, size=12)).capitalize() + "."

    return [" ".join(sentence() for _ in range(sentence_count)) for _ in range(count)]
