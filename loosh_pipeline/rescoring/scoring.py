"""Scoring what is stored: one round, and some at once with a reason for each that cannot be scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from loosh_pipeline.audit.content import RoundInputs
from loosh_pipeline.audit.leaves import round_digest
from loosh_pipeline.domain import ChallengeId, Response
from loosh_pipeline.embedding.round_vectors import RoundVectors, unpack
from loosh_pipeline.rescoring.rounds import StoredRound, Unscorable
from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.result import RoundScores
from loosh_pipeline.store.frames import responses_of
from loosh_pipeline.store.score_frames import Scored, pairs_frames, scores_frames
from loosh_pipeline.store.vector_frames import from_frame

REASON_CHARS = 300
NOT_FINITE = "its payouts are no finite numbers"

ContextAt = Callable[[datetime, str, int], ScoringContext]
"""Says what rounds of a moment are compared with beyond themselves: by time, embedding model and width."""


@dataclass(frozen=True, slots=True)
class RoundResult:
    """A scored round: its scores, the context it was given, the embedding model of its vectors, and the digest of all
    that it was scored from.
    """

    scores: RoundScores
    context: ScoringContext
    model_digest: str
    inputs_digest: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a round's rows lie among those of its batch."""

    id: ChallengeId
    received_at: datetime
    model_digest: str
    rows: int
    pairs: int


@dataclass(frozen=True, eq=False)
class ScoredBatch:
    """Some rounds that were scored together: their rows, one round after the other, and who could not be scored."""

    rounds: tuple[Placed, ...]
    scores: pl.DataFrame
    pairs: pl.DataFrame
    unscorable: tuple[Unscorable, ...]


def score_stored(stored: StoredRound, context_at: ContextAt, profile: ScoringProfile) -> RoundResult:
    """Score a round from its tables. Raises ScoringError, StoreError or ValueError when they do not allow it."""
    # Imported here: scikit-learn takes a second, and memory, that only a process which scores need spend.
    from loosh_pipeline.scoring.score import score

    vectors = from_frame(stored.vectors)
    responses = responses_of(stored.responses)
    past = context_at(stored.received_at, vectors.model_digest, vectors.vectors.shape[1])
    inputs = _inputs(stored, responses, vectors, past.digest)
    scores = score(unpack(vectors, stored.prompt, responses), past, profile, vectors.model_digest)
    return RoundResult(scores, past, vectors.model_digest, round_digest(inputs))


def inputs_of(stored: StoredRound, context_digest: str) -> RoundInputs:
    """Everything that a stored round is scored from, as it is sealed and shown."""
    return _inputs(stored, responses_of(stored.responses), from_frame(stored.vectors), context_digest)


def _inputs(
    stored: StoredRound, responses: tuple[Response, ...], vectors: RoundVectors, context_digest: str
) -> RoundInputs:
    return RoundInputs(
        challenge_id=stored.id,
        received_at=stored.received_at,
        request=stored.request,
        prompt=stored.prompt,
        responses=responses,
        keys=vectors.keys,
        vectors=vectors.vectors,
        model_digest=vectors.model_digest,
        context_digest=context_digest,
    )


def score_batch(rounds: Sequence[StoredRound], context_at: ContextAt, profile: ScoringProfile) -> ScoredBatch:
    """Score rounds; whatever is wrong with one of them is its reason, and stops no other."""
    scored: list[Scored] = []
    placed: list[Placed] = []
    unscorable: list[Unscorable] = []
    for each in rounds:
        try:
            result = score_stored(each, context_at, profile)
        except Exception as error:  # tables of any age and make come along here
            unscorable.append(Unscorable(each.id, reason_of(error), f"scoring ended with {type(error).__name__}"))
            continue
        if (strange := _not_finite(result.scores)) is not None:
            unscorable.append(Unscorable(each.id, strange, NOT_FINITE))
            continue
        scored.append(Scored(result.scores, each.received_at, result.inputs_digest))
        sizes = len(result.scores.scores), len(result.scores.pairs)
        placed.append(Placed(each.id, each.received_at, result.model_digest, *sizes))
    return ScoredBatch(tuple(placed), scores_frames(scored), pairs_frames(scored), tuple(unscorable))


def _not_finite(scores: RoundScores) -> str | None:
    """What is wrong with payouts that are no finite numbers: such a round must not be kept."""
    wrong = [each for each in scores.scores if not math.isfinite(each.payout)]
    return f"{NOT_FINITE}: {wrong[0].payout} for {wrong[0].hotkey}" if wrong else None


def joined(batches: Sequence[ScoredBatch]) -> ScoredBatch:
    """Some batches as one, in their order; at least one."""
    return ScoredBatch(
        tuple(each for batch in batches for each in batch.rounds),
        pl.concat([batch.scores for batch in batches]),
        pl.concat([batch.pairs for batch in batches]),
        tuple(each for batch in batches for each in batch.unscorable),
    )


def not_scored(why: Unscorable) -> ScoredBatch:
    """Of one round, which cannot be scored."""
    return ScoredBatch((), scores_frames([]), pairs_frames([]), (why,))


def reason_of(error: Exception) -> str:
    """What an error says, with its kind where it is not one of ours."""
    said = f"{error}" if type(error).__module__.startswith("loosh_pipeline") else f"{type(error).__name__}: {error}"
    return said if len(said) <= REASON_CHARS else f"{said[:REASON_CHARS]}…"
