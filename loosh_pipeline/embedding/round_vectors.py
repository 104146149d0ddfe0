"""The vectors of one round: what is embedded, how it is stored, and the `Round` that is made of what is stored.

A round is always built from vectors rounded to float16, as they are stored, so that scoring it again from the table
gives the same bytes as scoring it the first time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from loosh_pipeline.domain import ChallengeId, Hotkey, Outcome, Response
from loosh_pipeline.embedding.port import Embedder, Rows
from loosh_pipeline.errors import ScoringError
from loosh_pipeline.scoring.network.round import texts_to_embed
from loosh_pipeline.scoring.round import REPLIED, Round, RoundResponse
from loosh_pipeline.scoring.text import MAX_CHARS, chunks, sentences
from loosh_pipeline.scoring.vectors import Vectors, mean_direction, unit_rows

Kind = Literal["prompt", "chunk", "sentence", "text"]
PROMPT_HOTKEY = Hotkey("")
STORED = np.dtype("<f2")


class TextRow(NamedTuple):
    """One text of a round: window `position` of the prompt (hotkey empty) or of an answer, or a sentence of it.

    Kind `text` is what the network's method reads besides: whole answers, parts of the prompt, its own sentences.
    """

    hotkey: Hotkey
    kind: Kind
    position: int
    text: str


class VectorKey(NamedTuple):
    """Where a stored vector belongs, and the digest of the text it was made of."""

    hotkey: Hotkey
    kind: str
    position: int
    text_sha256: str


@dataclass(frozen=True, eq=False)
class RoundVectors:
    """The vectors of one round as stored: `vectors` is (n, d) float16, one row for each of `keys`."""

    challenge_id: ChallengeId
    keys: tuple[VectorKey, ...]
    vectors: NDArray[np.float16]
    model_digest: str


def texts_of(prompt: str, responses: Iterable[Response]) -> tuple[TextRow, ...]:
    """Every text to embed: windows of the prompt, windows and sentences of each answer by hotkey, then what the
    network's method reads and is not among them."""
    rows = [TextRow(PROMPT_HOTKEY, "prompt", i, text) for i, text in enumerate(chunks(prompt) or [prompt[:1000]])]
    replied = sorted((r for r in responses if r.outcome in REPLIED), key=lambda r: r.hotkey)
    for response in replied:
        if response.outcome is Outcome.ANSWERED:
            rows += [TextRow(response.hotkey, "chunk", i, t) for i, t in enumerate(chunks(response.text))]
            rows += [TextRow(response.hotkey, "sentence", i, t) for i, t in enumerate(sentences(response.text))]
    seen = {row.text for row in rows}
    read = (text for text in texts_to_embed(prompt, [r.text for r in replied]) if text not in seen)
    rows += [TextRow(PROMPT_HOTKEY, "text", i, text) for i, text in enumerate(read)]
    return tuple(rows)


def embed_round(
    embedder: Embedder, challenge_id: ChallengeId, prompt: str, responses: Iterable[Response]
) -> RoundVectors:
    """Embed a whole round in one pass, each different text once. Raises what the embedder raises.

    A text is shown to the embedder as far as scoring reads any, `MAX_CHARS`: servers refuse what is longer than a
    request may be, and one miner's long answer would fail the round whenever it is tried.
    """
    rows = texts_of(prompt, responses)
    unique = list(dict.fromkeys(row.text for row in rows))
    vectors = embedder.embed([text[:MAX_CHARS] for text in unique])
    return pack(challenge_id, rows, unique, vectors, embedder.digest)


def pack(
    challenge_id: ChallengeId, rows: Sequence[TextRow], unique: Sequence[str], vectors: Rows, digest: str
) -> RoundVectors:
    """The stored form of a round; `vectors` are the (u, d) rows of the `unique` texts."""
    at = {text: i for i, text in enumerate(unique)}
    sha256 = [text_sha256(text) for text in unique]
    keys = tuple(VectorKey(row.hotkey, row.kind, row.position, sha256[at[row.text]]) for row in rows)
    spread = np.asarray(vectors)[[at[row.text] for row in rows]]
    return RoundVectors(challenge_id, keys, spread.astype(STORED), digest)


def text_sha256(text: str) -> str:
    """Digest by which the vector of a text is found; a lone surrogate, which has no bytes, counts as `?`."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def unpack(stored: RoundVectors, prompt: str, responses: Sequence[Response]) -> Round:
    """The round to score, in the order of `responses`. Raises ScoringError when the prompt's vector is missing."""
    wide = stored.vectors.astype(np.float64)
    places: dict[tuple[str, str], list[int]] = {}
    for i in sorted(range(len(stored.keys)), key=lambda i: stored.keys[i].position):
        places.setdefault((stored.keys[i].hotkey, stored.keys[i].kind), []).append(i)
    windows = wide[places.get((PROMPT_HOTKEY, "prompt"), [])]
    if not len(windows):
        raise ScoringError(
            f"no prompt vector is stored for challenge {stored.challenge_id}; materialize its embeddings again"
        )
    asked = tuple(
        RoundResponse(
            hotkey=response.hotkey,
            outcome=response.outcome,
            text=response.text,
            elapsed_ms=response.elapsed_ms,
            chunks=wide[places.get((response.hotkey, "chunk"), [])],
            sentences=wide[places.get((response.hotkey, "sentence"), [])],
            uid=response.uid,
            total_ms=_total_ms(response),
            ip=response.ip,
            coldkey=response.coldkey,
        )
        for response in responses
    )
    try:
        return Round(
            stored.challenge_id,
            mean_direction(windows),
            asked,
            prompt=prompt,
            text_vectors=_text_vectors(stored, wide, prompt, responses),
        )
    except ValueError as error:
        raise ScoringError(str(error)) from error


def _text_vectors(
    stored: RoundVectors, wide: NDArray[np.float64], prompt: str, responses: Sequence[Response]
) -> dict[str, Vectors]:
    row = {key.text_sha256: i for i, key in enumerate(stored.keys)}
    texts = texts_to_embed(prompt, [response.text for response in responses if response.outcome in REPLIED])
    # float16 leaves the length of a row off by some 1e-4, which the network's plain dot products would see
    found = {text: at for text in texts if (at := row.get(text_sha256(text))) is not None}
    return dict(zip(found, unit_rows(wide[list(found.values())]), strict=True))


def _total_ms(response: Response) -> float | None:
    """With the handshake before, as the network counts."""
    if response.elapsed_ms is None:
        return None
    return response.elapsed_ms + (response.handshake_ms or 0.0)
