"""Which replies of a round look like copies, in three views: meaning, form and wording, train of thought.

A report: it changes no pay. The threshold of meaning is a high percentile of the round's own similarities, so the
most similar pair of a round is flagged whenever it is above the floor, copied or not.
"""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.scoring.network.evaluate import check_vectors
from loosh_pipeline.scoring.network.profile import DEFAULT_PROFILE, NetworkProfile
from loosh_pipeline.scoring.network.round import NetworkRound
from loosh_pipeline.scoring.network.similarity import cosines, pair_values, unit_rows
from loosh_pipeline.scoring.network.text import sentences
from loosh_pipeline.scoring.network.threads import one_thread
from loosh_pipeline.scoring.text import is_test_mode
from loosh_pipeline.scoring.vectors import Vectors

SEMANTIC = "semantic"
FUSION = "fusion"
TRAJECTORY = "trajectory"

_TERMINATORS = re.compile(r"[.!?]+")
# white space within the line only: a run of blank lines would otherwise be tried from each of them
_NUMBERED = re.compile(r"^[^\S\n]*\d+[.)]", re.MULTILINE)
_BULLET = re.compile(r"^[^\S\n]*[-*•]\s", re.MULTILINE)

Pairs = dict[tuple[int, int], float]
"""Similarity of every pair found, i < j, in the order found."""


@dataclass(frozen=True, slots=True)
class SybilPair:
    """Two replies that look alike; the similarity is that of the view named, and views have scales of their own."""

    hotkeys: tuple[Hotkey, Hotkey]
    similarity: float
    method: str


@dataclass(frozen=True, slots=True)
class SybilGroup:
    """Replies all like one another in meaning, with mean, least and largest similarity of two of them."""

    hotkeys: tuple[Hotkey, ...]
    mean: float
    least: float
    largest: float


@dataclass(frozen=True, slots=True)
class SybilReport:
    """`high` selects pairs by meaning; `very_high`, which may exceed 1, is only reported.

    `method`: the views that found a pair, sorted and joined by "+"; empty without a pair.
    """

    high: float
    very_high: float
    method: str
    pairs: tuple[SybilPair, ...]
    groups: tuple[SybilGroup, ...]


def detect_sybils(round_: NetworkRound, profile: NetworkProfile = DEFAULT_PROFILE) -> SybilReport:
    """Pairs and groups of like replies among those long enough, whatever consensus thought of them.

    Raises ValueError for a vector that is missing or not finite, naming whose.
    """
    valid = [reply for reply in round_.replies if not is_test_mode(reply.text)]
    replies = [reply for reply in valid if len(reply.text) >= profile.sybil_min_characters]
    if min(len(valid), len(replies)) < profile.sybil_min_replies:
        return SybilReport(profile.sybil_high_floor, profile.sybil_very_high_floor, "", (), ())
    check_vectors(round_, replies, profile)
    texts = [reply.text for reply in replies]
    similarity = cosines(np.stack([round_.vectors[text] for text in texts]))
    high, very_high = thresholds(pair_values(similarity), profile)
    found = merge_pairs(
        {
            SEMANTIC: semantic_pairs(similarity, high),
            FUSION: fusion_pairs(texts, similarity, profile),
            TRAJECTORY: trajectory_pairs(_trains_of_thought(texts, round_.vectors, profile), profile),
        }
    )
    hotkeys = [reply.hotkey for reply in replies]
    return SybilReport(
        high=high,
        very_high=very_high,
        method="+".join(sorted({method for _, method in found.values()})),
        pairs=tuple(SybilPair((hotkeys[i], hotkeys[j]), *entry) for (i, j), entry in found.items()),
        groups=tuple(_group(members, similarity, hotkeys) for members in sybil_groups(similarity, high, profile)),
    )


def thresholds(values: NDArray[np.float64], profile: NetworkProfile) -> tuple[float, float]:
    """High and very high threshold for the similarities of a round's pairs; the floors for fewer than three pairs."""
    if len(values) < 3:
        return profile.sybil_high_floor, profile.sybil_very_high_floor
    high = max(float(np.percentile(values, profile.sybil_high_percentile)), profile.sybil_high_floor)
    very_high = float(np.percentile(values, profile.sybil_very_high_percentile))
    return high, max(very_high, profile.sybil_very_high_floor, high + profile.sybil_very_high_step)


def semantic_pairs(similarity: Vectors, high: float) -> Pairs:
    """Pairs at the threshold or above, (n, n)."""
    return {(i, j): value for i, j, value in _upper(similarity) if value >= high}


def _upper(matrix: Vectors) -> Iterator[tuple[int, int, float]]:
    rows, columns = np.triu_indices(len(matrix), k=1)
    yield from zip(rows.tolist(), columns.tolist(), pair_values(matrix).tolist(), strict=True)


def fusion_pairs(texts: Sequence[str], similarity: Vectors, profile: NetworkProfile) -> Pairs:
    """Pairs that at least `fusion_min_hits` of meaning, wording and form call alike, with the largest of the three.

    Empty when the texts hold no word to compare wording by.
    """
    lexical = lexical_similarity(texts)
    if lexical is None:
        return {}
    views = np.stack([pair_values(view) for view in (similarity, lexical, structural_similarity(texts))])
    limits = np.array([profile.fusion_semantic, profile.fusion_lexical, profile.fusion_structural])
    hits = (views >= limits[:, np.newaxis]).sum(axis=0)
    rows, columns = np.triu_indices(len(texts), k=1)
    return {
        (int(rows[k]), int(columns[k])): float(views[:, k].max())
        for k in np.flatnonzero(hits >= profile.fusion_min_hits)
    }


def lexical_similarity(texts: Sequence[str]) -> Vectors | None:
    """TF-IDF cosine over words and pairs of words, fitted on these texts, (n, n); None when no word is left.

    Rounded to single precision, so that the same text twice is no more alike by wording than it is by meaning.
    """
    vectorizer = TfidfVectorizer(max_features=5000, stop_words="english", ngram_range=(1, 2))
    terms = vectorizer.build_analyzer()
    if not any(terms(text) for text in texts):
        return None
    rows = vectorizer.fit_transform(texts)
    similarity: Vectors = (rows @ rows.T).toarray().astype(np.float32)
    return similarity


def structural_similarity(texts: Sequence[str]) -> Vectors:
    """Cosine of seven counts and flags of form, (n, n), in single precision."""
    return cosines(np.array([_structure(text) for text in texts], dtype=np.float32))


def _structure(text: str) -> tuple[float, ...]:
    said = [piece for piece in _TERMINATORS.split(text) if piece.strip()]
    words = sum(len(piece.split()) for piece in said) / len(said) if said else 0.0
    return (
        len(text) / 10000,
        len(said) / 50,
        float(_NUMBERED.search(text) is not None),
        float(_BULLET.search(text) is not None),
        float("```" in text),
        len([part for part in text.split("\n\n") if part.strip()]) / 20,
        words / 50,
    )


def _trains_of_thought(
    texts: Sequence[str], vectors: Mapping[str, Vectors], profile: NetworkProfile
) -> dict[int, Vectors]:
    """Sentence vectors, (m, d), of every reply that has enough of them to be clustered."""
    said = {i: sentences(text, int(profile.min_sentence_words)) for i, text in enumerate(texts)}
    return {
        i: np.stack([vectors[sentence] for sentence in parts])
        for i, parts in said.items()
        if len(parts) >= profile.trajectory_clusters
    }


def trajectory_pairs(trains: Mapping[int, Vectors], profile: NetworkProfile) -> Pairs:
    """Pairs whose sentence clusters, ordered by the length of their centres, are alike on average."""
    if len(trains) < 2:
        return {}
    with warnings.catch_warnings(), one_thread():
        # repeated sentences leave fewer clusters than asked for; the centres then repeat too
        warnings.simplefilter("ignore", ConvergenceWarning)
        centres = unit_rows(np.stack([_ordered_centres(rows, profile) for rows in trains.values()]))
    likeness = np.einsum("akd,bkd->ab", centres, centres) / centres.shape[1]
    owners = list(trains)
    return {(owners[a], owners[b]): value for a, b, value in _upper(likeness) if value >= profile.trajectory_similarity}


def _ordered_centres(rows: Vectors, profile: NetworkProfile) -> Vectors:
    model = KMeans(
        n_clusters=int(profile.trajectory_clusters),
        n_init=int(profile.trajectory_starts),
        random_state=int(profile.trajectory_seed),
    ).fit(rows)
    centres: Vectors = model.cluster_centers_
    return centres[np.argsort(np.linalg.norm(centres, axis=1))]


def merge_pairs(views: Mapping[str, Pairs]) -> dict[tuple[int, int], tuple[float, str]]:
    """Of every pair the largest similarity and the view it is from, the first view of equals."""
    found: dict[tuple[int, int], tuple[float, str]] = {}
    for method, pairs in views.items():
        for pair, similarity in pairs.items():
            if pair not in found or similarity > found[pair][0]:
                found[pair] = (similarity, method)
    return found


def sybil_groups(similarity: Vectors, high: float, profile: NetworkProfile) -> list[tuple[int, ...]]:
    """Connected sets of replies with similarity at the threshold or above, pruned until every pair is close enough."""
    pruned = (prune_group(members, similarity, profile) for members in _components(similarity, high))
    return [members for members in pruned if len(members) >= max(2, profile.sybil_min_group)]


def _components(similarity: Vectors, high: float) -> Iterator[list[int]]:
    """Members of every connected set of two or more, breadth first from the lowest index."""
    linked = similarity.astype(np.float64) >= high
    seen: set[int] = set()
    for start in range(len(linked)):
        if start in seen:
            continue
        members, waiting = [start], deque([start])
        seen.add(start)
        while waiting:
            for neighbour in np.flatnonzero(linked[waiting.popleft()]).tolist():
                if neighbour not in seen:
                    seen.add(neighbour)
                    members.append(neighbour)
                    waiting.append(neighbour)
        if len(members) > 1:
            yield members


def prune_group(members: Sequence[int], similarity: Vectors, profile: NetworkProfile) -> tuple[int, ...]:
    """Members left after taking out, one at a time, whoever is least like another of them; the first of equals."""
    left = list(members)
    while len(left) > 1:
        among = similarity[np.ix_(left, left)].astype(np.float64)
        np.fill_diagonal(among, np.inf)
        least = among.min(axis=1)
        if least.min() >= profile.sybil_min_internal:
            break
        del left[int(least.argmin())]
    return tuple(left)


def _group(members: Sequence[int], similarity: Vectors, hotkeys: Sequence[Hotkey]) -> SybilGroup:
    values = pair_values(similarity[np.ix_(members, members)])
    return SybilGroup(
        hotkeys=tuple(hotkeys[i] for i in members),
        mean=float(values.mean()),
        least=float(values.min()),
        largest=float(values.max()),
    )
