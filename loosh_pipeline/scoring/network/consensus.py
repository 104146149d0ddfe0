"""Which replies agree, and how much: quality filter, local outliers, the largest cluster, then mean plus spread.

Every filter works on what the one before it left. Replies are told apart by their index, in order of arrival; where
two clusters weigh the same the order decides.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering
from sklearn.neighbors import LocalOutlierFactor

from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.network.removals import LOW_QUALITY, MINOR_CLUSTER, OUTDONE, OUTLIER
from loosh_pipeline.scoring.network.similarity import cosines, mean_to_others, pair_values
from loosh_pipeline.scoring.network.threads import one_thread, taken_as_given
from loosh_pipeline.scoring.vectors import Vectors

Mask = NDArray[np.bool_]
CONFIDENCE = 1.0
"""No miner states a confidence, so each has the default."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """What consensus is found among: n replies in order of arrival.

    `rows`: (n, d) vectors of the whole replies; `quality`, `votes`, `words`: (n,).
    """

    rows: Vectors
    quality: NDArray[np.float64]
    votes: NDArray[np.float64]
    words: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.quality)


@dataclass(frozen=True, eq=False)
class Consensus:
    """What the replies agree on. Per reply, in order of arrival: `removed_by` … `length_kept`.

    `score` is mean + `spread_weight` · spread of the similarity of pairs, 0 with fewer than two survivors.
    `weighted_score`: plain mean of the survivors' similarities, 0 for a single one, None for none.
    """

    score: float
    mean: float
    spread: float
    weighted_score: float | None
    reached: bool
    garbage_alert: bool
    removed_by: tuple[str, ...]
    """"" for a survivor, else one of the constants of this module."""
    outlier: tuple[bool, ...]
    """Flagged as a local outlier, whether or not that removed it."""
    cluster: tuple[int | None, ...]
    """None for a reply that was removed before clustering, and when there was nothing to cluster."""
    composite: tuple[float | None, ...]
    """All None when nobody survives the quality filter."""
    length_kept: tuple[bool | None, ...]
    """What the length filter, which is off, would say of a survivor; None for the others."""


def find_consensus(candidates: Candidates, profile: NetworkProfile) -> Consensus:
    """Filter the replies, measure how the survivors agree, and give every reply its composite."""
    removed_by = np.where(candidates.quality >= profile.quality_threshold, "", LOW_QUALITY).astype(object)
    outlier = _remove_outliers(candidates, removed_by, profile)
    similarity = cosines(candidates.rows)
    cluster = _keep_dominant_cluster(candidates, similarity, removed_by, profile)
    kept = np.flatnonzero(removed_by == "")
    among = similarity[np.ix_(kept, kept)]
    mean, spread = agreement(among, candidates.quality[kept], candidates.votes[kept])
    score = mean + profile.spread_weight * spread
    long_enough = np.full(len(candidates), None, dtype=object)
    long_enough[kept] = length_kept(candidates.words[kept], profile.length_sensitivity)
    return Consensus(
        score=score,
        mean=mean,
        spread=spread,
        weighted_score=_weighted_score(among),
        reached=score > profile.consensus_threshold,
        garbage_alert=bool(len(kept) and candidates.quality[kept].mean() < profile.garbage_threshold),
        removed_by=tuple(removed_by),
        outlier=tuple(bool(flag) for flag in outlier),
        cluster=cluster,
        composite=composites(candidates, similarity, kept, profile),
        length_kept=tuple(None if verdict is None else bool(verdict) for verdict in long_enough),
    )


def _remove_outliers(candidates: Candidates, removed_by: NDArray[np.object_], profile: NetworkProfile) -> Mask:
    left = np.flatnonzero(removed_by == "")
    flagged = np.zeros(len(candidates), dtype=bool)
    if min(len(candidates), len(left)) < profile.outlier_min_replies:
        return flagged
    flagged[left] = local_outliers(candidates.rows[left], profile)
    keep = keep_after_outliers(flagged[left], candidates.quality[left], profile)
    removed_by[left[~keep]] = np.where(flagged[left[~keep]], OUTLIER, OUTDONE)
    return flagged


def _keep_dominant_cluster(
    candidates: Candidates, similarity: Vectors, removed_by: NDArray[np.object_], profile: NetworkProfile
) -> tuple[int | None, ...]:
    left = np.flatnonzero(removed_by == "")
    found = np.full(len(candidates), None, dtype=object)
    if len(candidates) >= profile.cluster_min_replies and len(left) > 1:
        labels = cluster_labels(similarity[np.ix_(left, left)], profile)
        dominant = dominant_cluster(labels, candidates.votes[left])
        removed_by[left[labels != dominant]] = MINOR_CLUSTER
        found[left] = labels
    return tuple(None if label is None else int(label) for label in found)


def local_outliers(rows: Vectors, profile: NetworkProfile) -> Mask:
    """Which rows are local outliers, (m, d) → (m,), m ≥ 2: a local outlier factor above 1.5, by Euclidean distance."""
    neighbours = min(int(profile.outlier_neighbours), len(rows) - 1)
    with warnings.catch_warnings(), one_thread(), taken_as_given():
        # copies of one reply make the factor of the others huge, which is the verdict wanted
        warnings.filterwarnings("ignore", message="Duplicate values are leading to incorrect results")
        verdict = LocalOutlierFactor(n_neighbors=neighbours, contamination="auto").fit_predict(rows)
    flagged: Mask = verdict == -1
    return flagged


def keep_after_outliers(flagged: Mask, quality: NDArray[np.float64], profile: NetworkProfile) -> Mask:
    """Which replies stay: the inliers, unless the outliers are better by more than `outlier_quality_delta`."""
    if not flagged.any() or flagged.all():
        return np.ones_like(flagged)
    gain = quality[flagged].mean() - quality[~flagged].mean()
    return flagged if gain > profile.outlier_quality_delta else ~flagged


def cluster_labels(similarity: Vectors, profile: NetworkProfile) -> NDArray[np.int64]:
    """Average-linkage clusters of 1 - cosine, merged strictly below `cluster_distance`, (m, m) → (m,), m ≥ 2."""
    model = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=profile.cluster_distance
    )
    with taken_as_given():
        labels: NDArray[np.int64] = model.fit_predict(1.0 - similarity)
    return labels


def dominant_cluster(labels: NDArray[np.int64], votes: NDArray[np.float64]) -> int:
    """Label of the cluster with the most votes; the lowest such label."""
    return int(np.bincount(labels, weights=votes).argmax())


def agreement(similarity: Vectors, quality: NDArray[np.float64], votes: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of the similarity of pairs, a pair weighing the product of its qualities and votes.

    Both 0 with fewer than two replies, and when no pair has a weight.
    """
    weight = quality * votes
    pair_weights = pair_values(np.outer(weight, weight))
    total = float(pair_weights.sum())
    if total == 0:
        return 0.0, 0.0
    values = pair_values(similarity)
    mean = float((pair_weights * values).sum()) / total
    return mean, float(np.sqrt((pair_weights * (values - mean) ** 2).sum() / total))


def _weighted_score(similarity: Vectors) -> float | None:
    # weights would be products of confidences, which are all 1
    if not len(similarity):
        return None
    values = pair_values(similarity)
    return float(values.mean()) if len(values) else 0.0


def length_kept(words: NDArray[np.int64], sensitivity: float) -> Mask:
    """Which replies have at least `sensitivity` times the mean number of words, (m,) → (m,)."""
    if not len(words):
        return np.zeros(0, dtype=bool)
    verdict: Mask = words >= sensitivity * words.mean()
    return verdict


def composites(
    candidates: Candidates, similarity: Vectors, kept: Sequence[int] | NDArray[np.intp], profile: NetworkProfile
) -> tuple[float | None, ...]:
    """The composite of every reply, (n,), which only decides whose emission gets the factor of the best.

    `similarity`: (n, n) of all replies; `kept`: indices of the survivors. All None without survivors.
    """
    if not len(kept):
        return (None,) * len(candidates)
    inside = np.zeros(len(candidates), dtype=bool)
    inside[kept] = True
    among = similarity[np.ix_(inside, inside)]
    values = np.empty(len(candidates))
    values[inside] = survivor_composites(among, candidates.quality[inside], candidates.votes[inside], profile)
    if not inside.all():
        longest = max(int(candidates.words.max()), 1)
        likeness = similarity[np.ix_(~inside, inside)].mean(axis=1, dtype=np.float64)
        values[~inside] = candidates.votes[~inside] * (
            profile.removed_agreement_weight * likeness
            + profile.removed_length_weight * candidates.words[~inside] / longest
            + profile.confidence_weight * CONFIDENCE
        )
    return tuple(float(value) for value in values)


def survivor_composites(
    similarity: Vectors, quality: NDArray[np.float64], votes: NDArray[np.float64], profile: NetworkProfile
) -> NDArray[np.float64]:
    """Composites of the replies in consensus, (m, m), (m,), (m,) → (m,)."""
    composite: NDArray[np.float64] = votes * (
        profile.agreement_weight * mean_to_others(similarity, votes)
        + profile.composite_quality_weight * quality
        + profile.confidence_weight * CONFIDENCE
        + profile.membership_weight
        + diversity_bonus(similarity, quality, profile)
    )
    return composite


def diversity_bonus(similarity: Vectors, quality: NDArray[np.float64], profile: NetworkProfile) -> NDArray[np.float64]:
    """What good replies in consensus gain by being unlike the others, (m,); 0 for one alone."""
    if len(quality) < 2:
        return np.zeros(len(quality))
    distance = 1.0 - mean_to_others(similarity, np.ones(len(quality)))
    bonus = distance * (quality / profile.diversity_quality) * profile.diversity_max
    return np.where(quality > profile.diversity_quality, np.minimum(profile.diversity_max, bonus), 0.0)
