"""Quality of each reply of a round: six signals, a sigmoid of each, their weighted sum, and a gate on relevance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

from loosh_pipeline.scoring.network.keywords import keyword_share, prompt_keywords
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.text import (
    density,
    marker_count,
    prompt_components,
    sentences,
    specificity,
    structural_coherence,
)
from loosh_pipeline.scoring.vectors import Vectors

UNKNOWN_RELEVANCE = 0.5
"""What `heuristic_quality` takes for the relevance of a reply to a prompt without a vector."""
MARKER_RATE = 1.3
"""How fast discourse markers per sentence make the complexity of a reply of one sentence."""

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Signals:
    """The six signals of a composite; all but relevance and coverage are within 0 and 1 for any vectors."""

    relevance: float
    coherence: float
    coverage: float
    complexity: float
    density: float
    specificity: float


@dataclass(frozen=True, slots=True)
class Coherence:
    """How well sentences follow one another: mean cosine of neighbours and with their centre, and breaks."""

    value: float
    local_coherence: float = 0.0
    global_coherence: float = 0.0
    break_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Complexity:
    """How many steps sentences take, against the number that is best, and how little they repeat."""

    value: float
    num_steps: int = 0
    step_score: float = 0.0
    redundancy: float = 0.0
    novelty: float = 0.0


@dataclass(frozen=True, slots=True)
class Quality:
    """One reply: the six signals, what they came from, and what came of them.

    Step and chain figures are 0 where they were not taken: fewer than two sentences, or no complexity allowed.
    `value` is the composite, or 0 where `raw_relevance`, the cosine of prompt and reply, is below the gate.
    """

    relevance: float
    coherence: float
    coverage: float
    complexity: float
    density: float
    specificity: float

    sentence_count: int
    covered_components: int
    total_components: int
    sentence_relevance: float
    local_coherence: float
    global_coherence: float
    coherence_break_rate: float
    num_steps: int
    step_score: float
    redundancy: float
    novelty: float

    raw_relevance: float
    composite: float
    value: float


@dataclass(frozen=True, eq=False, slots=True)
class _Question:
    """What replies are compared with: the prompt's vector (d,), those of its parts (c, d), and its key terms."""

    vector: Rows
    parts: Rows
    keywords: tuple[str, ...]


def score_quality(
    prompt: str, texts: Sequence[str], vectors: Mapping[str, Vectors], profile: NetworkProfile
) -> tuple[Quality, ...]:
    """The quality of each of `texts` as a reply to `prompt`, in their order.

    `vectors` holds unit rows, (d,), of every text of `texts_to_embed`. Raises ValueError for one that is missing.
    """
    components = prompt_components(prompt)
    # the terms only count where nothing can be covered
    keywords = [] if components else prompt_keywords(prompt, texts)
    question = _Question(_rows([prompt], vectors)[0], _rows(components, vectors), tuple(keywords))
    return tuple(_score_reply(text, question, vectors, profile) for text in texts)


def composite(signals: Signals, profile: NetworkProfile) -> float:
    """Weighted sum of the sigmoids of the signals, clipped to 0 … 1."""
    total = 0.0
    for name in Signals.__slots__:
        midpoint = getattr(profile, f"{name}_midpoint")
        shaped = sigmoid(getattr(signals, name), midpoint, profile.sigmoid_steepness)
        total += getattr(profile, f"{name}_weight") * shaped
    return _clip(total)


def sigmoid(value: float, midpoint: float, steepness: float) -> float:
    """1 / (1 + exp(-steepness · (value - midpoint)))."""
    return 1.0 / (1.0 + math.exp(-steepness * (value - midpoint)))


def gated(quality: float, raw_relevance: float, profile: NetworkProfile) -> float:
    """`quality`, or 0 where the cosine of prompt and reply is below the gate."""
    return quality if raw_relevance >= profile.relevance_gate else 0.0


def heuristic_quality(text: str, profile: NetworkProfile, relevance: float = UNKNOWN_RELEVANCE) -> float:
    """Quality without sentence vectors: a weighted sum of plain signals, neither shaped nor clipped."""
    return (
        profile.relevance_weight * relevance
        + profile.density_weight * density(text)
        + profile.specificity_weight * specificity(text)
        + profile.coherence_weight * structural_coherence(text)
    )


def chain_coherence(rows: Rows, profile: NetworkProfile) -> Coherence:
    """Coherence of two or more sentences, (m, d) unit rows in their order."""
    adjacent = np.einsum("md,md->m", rows[:-1], rows[1:])
    centre = rows.mean(axis=0)
    length = float(np.linalg.norm(centre))
    local = _clip(float(adjacent.mean()))
    overall = _clip(float((rows @ centre).mean() / length)) if length > 0 else 0.0
    rate = int((adjacent < profile.break_threshold).sum()) / len(adjacent)
    value = profile.coherence_local * local + profile.coherence_global * overall
    if rate > profile.break_rate_limit:
        value *= max(profile.break_floor, 1 - rate)
    return Coherence(value, local, overall, rate)


def step_complexity(rows: Rows, profile: NetworkProfile) -> Complexity:
    """Complexity of two or more sentences, (m, d) unit rows: steps are clusters of sentences by average linkage."""
    merges = linkage(rows, method="average", metric="euclidean")[:, 2]
    steps = 1 + int((merges >= profile.complexity_distance).sum())
    step_score = math.exp(-(((steps - profile.complexity_target_steps) / profile.complexity_scale) ** 2))
    redundancy = _mean_pair_cosine(rows)
    novelty = max(0.0, 1 - redundancy)
    value = profile.complexity_step_weight * step_score + profile.complexity_novelty_weight * novelty
    return Complexity(_clip(value), steps, step_score, redundancy, novelty)


def marker_complexity(text: str, sentence_count: int) -> Complexity:
    """Complexity of a reply of fewer than two sentences, by its discourse markers; 0 without a sentence."""
    if not sentence_count:
        return Complexity(0.0)
    return Complexity(_clip(1 - math.exp(-MARKER_RATE * marker_count(text) / sentence_count)))


def _score_reply(text: str, question: _Question, vectors: Mapping[str, Vectors], profile: NetworkProfile) -> Quality:
    document = _rows([text], vectors)
    said = sentences(text, int(profile.min_sentence_words))
    rows = _rows(said if len(said) > 1 else [], vectors)
    raw = float(document[0] @ question.vector)
    of_sentences = _best_half(rows @ question.vector) if len(rows) else raw
    found = profile.relevance_document * raw + profile.relevance_sentence * of_sentences
    covered = _covered(question.parts, np.concatenate([document, rows]), profile)
    coverage = (
        covered / len(question.parts) if len(question.parts) else found + _by_keywords(text, question, raw, profile)
    )
    relevance = found + profile.relevance_coverage * coverage
    coherence = chain_coherence(rows, profile) if len(rows) else Coherence(structural_coherence(text))
    complexity = Complexity(0.0)
    if relevance >= profile.complexity_relevance_gate and coherence.value >= profile.complexity_coherence_gate:
        complexity = step_complexity(rows, profile) if len(rows) else marker_complexity(text, len(said))
    signals = Signals(relevance, coherence.value, coverage, complexity.value, density(text), specificity(text))
    total = composite(signals, profile)
    return Quality(
        **{name: getattr(signals, name) for name in Signals.__slots__},
        sentence_count=len(said),
        covered_components=covered,
        total_components=len(question.parts),
        sentence_relevance=of_sentences,
        local_coherence=coherence.local_coherence,
        global_coherence=coherence.global_coherence,
        coherence_break_rate=coherence.break_rate,
        num_steps=complexity.num_steps,
        step_score=complexity.step_score,
        redundancy=complexity.redundancy,
        novelty=complexity.novelty,
        raw_relevance=raw,
        composite=total,
        value=gated(total, raw, profile),
    )


def _by_keywords(text: str, question: _Question, raw: float, profile: NetworkProfile) -> float:
    """The part of coverage that key terms give where a prompt has no parts; raw relevance stands in for no terms."""
    return profile.relevance_coverage * (keyword_share(text, question.keywords) if question.keywords else raw)


def _rows(texts: Sequence[str], vectors: Mapping[str, Vectors]) -> Rows:
    """(n, d) of `texts`; (0, d) of none."""
    if missing := [text for text in texts if text not in vectors]:
        raise ValueError(f"no vector of {missing[0][:80]!r}; embed every text of texts_to_embed")
    dim = len(next(iter(vectors.values()))) if vectors else 0
    return np.array([vectors[text] for text in texts], dtype=np.float64).reshape(len(texts), dim)


def _best_half(cosines: Rows) -> float:
    return float(np.sort(cosines)[::-1][: max(1, len(cosines) // 2)].mean())


def _covered(parts: Rows, units: Rows, profile: NetworkProfile) -> int:
    """How many rows of `parts` have a cosine with one of `units` at the threshold or above."""
    if not len(parts):
        return 0
    return int(((parts @ units.T).max(axis=1) >= profile.coverage_threshold).sum())


def _mean_pair_cosine(rows: Rows) -> float:
    """Mean cosine of all pairs of rows, from the length of their sum instead of a table of pairs."""
    total = rows.sum(axis=0)
    count = len(rows)
    return float(total @ total - np.einsum("md,md->", rows, rows)) / (count * (count - 1))


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
