"""The constants of the network's existing validator, 1.2.8: those that score a round, and those that make weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from loosh_pipeline.scoring.profile import MOST, number_said

_SIGNALS = ("relevance", "coherence", "coverage", "complexity", "density", "specificity")
AT_MOST: Mapping[str, float] = {
    **{f"{name}_midpoint": 1.0 for name in _SIGNALS},
    "sigmoid_steepness": 500.0,  # exp of it must be a number
    "complexity_target_steps": 1000,
    "trajectory_clusters": 1000,
    "trajectory_starts": 1000,
    "trajectory_seed": 2**32 - 1,
}
"""Where it is not `MOST`."""


def _known(cls: type[Any], name: str, parameters: Mapping[str, float]) -> dict[str, Any]:
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(parameters) - known):
        raise ValueError(f"profile {name!r} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return dict(parameters)


def _check_numbers(profile: Any, at_most: Mapping[str, float]) -> None:
    """Every field is a number from 0 to what it is at most, and a whole one where its default is."""
    for field in fields(profile):
        value = getattr(profile, field.name)
        if said := number_said(field.name, value, at_most.get(field.name, MOST)):
            raise ValueError(said)
        if isinstance(field.default, int) and value != int(value):
            raise ValueError(f"profile parameter {field.name} is {value}; it counts something, give a whole number")


def _check_at_least(profile: Any, least: float, *names: str) -> None:
    for name in names:
        if getattr(profile, name) < least:
            raise ValueError(f"profile parameter {name} is {getattr(profile, name)}; it must be at least {least}")


def _check_above_zero(profile: Any, *names: str) -> None:
    for name in names:
        if not getattr(profile, name) > 0:
            raise ValueError(f"profile parameter {name} is {getattr(profile, name)}; it must be above 0")


@dataclass(frozen=True, slots=True)
class NetworkProfile:
    """Parameters of `evaluate` and `detect_sybils`. Raises ValueError for a value out of range.

    The defaults are the values in force in the network's existing validator, 1.2.8, which are not always those its
    documentation names. Another value gives a scorer of another version, which agrees with nobody else's.
    """

    name: ClassVar[str] = "network"

    single_relevance_gate: float = 0.20
    """Cosine with the prompt from which a lone reply is paid in full."""
    relevance_gate: float = 0.20
    """Cosine with the prompt below which the quality of one of several replies is 0."""

    relevance_weight: float = 0.4
    """Weights of the six signals in a quality composite. They sum to 1.4, and the composite is clipped at 1."""
    coherence_weight: float = 0.2
    coverage_weight: float = 0.2
    complexity_weight: float = 0.2
    density_weight: float = 0.2
    specificity_weight: float = 0.2
    relevance_midpoint: float = 0.45
    """Where the sigmoid of a signal passes one half …"""
    coherence_midpoint: float = 0.45
    coverage_midpoint: float = 0.40
    complexity_midpoint: float = 0.30
    density_midpoint: float = 0.40
    specificity_midpoint: float = 0.30
    sigmoid_steepness: float = 8.0
    """… and how steeply it does."""

    min_sentence_words: int = 3
    coverage_threshold: float = 0.45
    """Cosine from which a part of the prompt counts as answered."""
    break_threshold: float = 0.25
    """Cosine of adjacent sentences below which the line of thought breaks."""
    break_rate_limit: float = 0.3
    """Share of breaks above which coherence is scaled by max(`break_floor`, 1 - share)."""
    break_floor: float = 0.5
    coherence_local: float = 0.6
    coherence_global: float = 0.4
    relevance_document: float = 0.4
    """Parts of relevance: the whole reply, its best sentences, its coverage of the prompt."""
    relevance_sentence: float = 0.4
    relevance_coverage: float = 0.2
    complexity_relevance_gate: float = 0.4
    """Relevance and coherence below which complexity is 0."""
    complexity_coherence_gate: float = 0.3
    complexity_target_steps: int = 4
    complexity_scale: float = 2.0
    complexity_distance: float = 0.7
    """Euclidean distance at which clusters of sentences are cut into steps."""
    complexity_step_weight: float = 0.6
    complexity_novelty_weight: float = 0.4

    quality_threshold: float = 0.35
    """Quality from which a reply stays in consensus; it is paid either way."""
    outlier_min_replies: int = 3
    """Replies from which local outliers are looked for."""
    outlier_neighbours: int = 2
    outlier_quality_delta: float = 0.15
    """How much better on average outliers must be for the others to be removed instead."""
    cluster_min_replies: int = 2
    cluster_distance: float = 0.5
    """1 - cosine below which clusters of replies merge."""
    length_sensitivity: float = 0.7
    """Share of the mean word count from which a reply would pass the length filter, which removes nobody."""
    spread_weight: float = 1.0
    """How many standard deviations of similarity are added to its mean."""
    consensus_threshold: float = 0.7
    """Consensus score above which consensus is said to be reached; it changes no pay."""
    garbage_threshold: float = 0.4
    """Mean quality in consensus below which garbage is reported; it changes no pay."""

    agreement_weight: float = 0.40
    """Parts of a composite in consensus: likeness to the others, quality, a stated confidence, being there."""
    composite_quality_weight: float = 0.25
    confidence_weight: float = 0.15
    membership_weight: float = 0.10
    removed_agreement_weight: float = 0.30
    """Parts of a composite out of consensus: likeness to those in it, length, and the same confidence."""
    removed_length_weight: float = 0.25
    diversity_max: float = 0.15
    diversity_quality: float = 0.6
    """Quality above which being unlike the others earns a bonus, and what the bonus scales with."""

    consensus_bonus: float = 1.2
    """Factor on the emission of a reply in consensus."""
    top_bonus: float = 0.5
    """Largest rise of the best composite's emission, approached as tanh(`top_scale` · gap to the second) …"""
    top_scale: float = 0.1
    top_cap: float = 1.5
    """… and capped here."""

    entity_votes: float = 1.0
    """Votes that hotkeys of one address, or of one coldkey, share …"""
    entity_min_group: int = 2
    """… from this many of them."""

    sybil_min_replies: int = 2
    sybil_min_characters: int = 50
    sybil_high_floor: float = 0.80
    sybil_very_high_floor: float = 0.88
    sybil_high_percentile: float = 99.9
    sybil_very_high_percentile: float = 99.99
    sybil_very_high_step: float = 0.01
    """Least distance of the two thresholds."""
    sybil_min_group: int = 2
    sybil_min_internal: float = 0.90
    """Similarity that every pair of a group must have."""
    fusion_semantic: float = 0.92
    fusion_lexical: float = 0.85
    fusion_structural: float = 0.80
    fusion_min_hits: int = 2
    """How many of the three views must agree on a pair."""
    trajectory_similarity: float = 0.85
    trajectory_clusters: int = 5
    trajectory_starts: int = 3
    trajectory_seed: int = 42

    @classmethod
    def from_mapping(cls, parameters: Mapping[str, float]) -> Self:
        """A profile with the given parameters changed. Raises ValueError for one that does not exist."""
        return cls(**_known(cls, cls.name, parameters))

    def __post_init__(self) -> None:
        _check_numbers(self, AT_MOST)
        _check_above_zero(self, "complexity_scale", "diversity_quality", "trajectory_clusters", "trajectory_starts")
        _check_above_zero(self, "outlier_neighbours", "sybil_min_group", "entity_min_group", "cluster_distance")
        _check_above_zero(self, "complexity_distance")
        # Below these counts the methods have nothing to compare.
        _check_at_least(self, 3, "outlier_min_replies")
        _check_at_least(self, 2, "cluster_min_replies", "sybil_min_replies")
        for name in ("sybil_high_percentile", "sybil_very_high_percentile"):
            if getattr(self, name) > 100:
                raise ValueError(f"profile parameter {name} is {getattr(self, name)}; a percentile is at most 100")


DEFAULT_PROFILE = NetworkProfile()
"""The values in force in the network."""


@dataclass(frozen=True, slots=True)
class NetworkPay:
    """Parameters of the functions in `pay`. Raises ValueError for a value out of range."""

    name: ClassVar[str] = "network pay"

    ema_alpha: float = 0.3
    """Weight of the newest emission in the moving average."""
    lookback_hours: float = 24.0
    fresh_hours: float = 3.0
    """Age of the last success above which a miner gets no weight in mode NORMAL …"""
    fresh_hours_degraded: float = 24.0
    """… and in mode DEGRADED; in EMERGENCY any age will do."""
    degraded_at: float = 0.8
    """Part of the chain's activity cutoff without new weights from which the mode is DEGRADED …"""
    emergency_at: float = 0.9
    """… and EMERGENCY: 4000 and 4500 blocks of 5000, which the existing validator takes for granted."""
    min_serving: int = 1
    max_stake: float = 999.0
    """Stake from which a neuron passes for a validator while no list of validators can be had."""
    penalty_threshold: float = 0.1
    """Sybil score from which a miner is penalised."""
    penalty_max: float = 1.0
    penalty_hard_floor: float = 0.60
    """Sybil score from which the safety valve spares nobody."""
    penalty_soft_fraction: float = 0.33
    """Share of serving miners that may be penalised at lower scores; the worst ones are."""
    penalty_retention: float = 0.2
    """Least share of its average that a penalised miner keeps."""

    @classmethod
    def from_mapping(cls, parameters: Mapping[str, float]) -> Self:
        """Parameters with the given ones changed. Raises ValueError for one that does not exist."""
        return cls(**_known(cls, cls.name, parameters))

    def __post_init__(self) -> None:
        _check_numbers(self, {})
        shares = ("ema_alpha", "penalty_max", "penalty_soft_fraction", "penalty_retention")
        for name in (*shares, "degraded_at", "emergency_at"):
            if getattr(self, name) > 1:
                raise ValueError(f"profile parameter {name} is {getattr(self, name)}; it must be between 0 and 1")
        if self.degraded_at > self.emergency_at:
            raise ValueError(f"degraded_at ({self.degraded_at}) must not be above emergency_at ({self.emergency_at})")
