"""Which scorer challenges are to be scored by again, from what somebody typed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.scoring.profiles import PROFILES, ScoringProfile, profile_of

NOT_OF_A_ROUND: Mapping[str, frozenset[str]] = {
    "robust": frozenset({
        "proven_low", "proven_high", "proven_prior_rounds",
        "alike_low", "alike_high", "pair_low", "pair_high", "pair_prior_alike", "pair_prior_rounds",
        "mean_prior_wording", "mean_prior_rounds",
        "track_power", "track_prior_rounds", "track_limit", "track_passes",
    }),
    "network": frozenset({
        "sybil_min_replies", "sybil_min_characters", "sybil_high_floor", "sybil_very_high_floor",
        "sybil_high_percentile", "sybil_very_high_percentile", "sybil_very_high_step", "sybil_min_group",
        "sybil_min_internal", "fusion_semantic", "fusion_lexical", "fusion_structural", "fusion_min_hits",
        "trajectory_similarity", "trajectory_clusters", "trajectory_starts", "trajectory_seed",
    }),
}  # fmt: skip
"""Parameters that change no row of a round scored alone; a test tries every parameter there is."""


def wanted_profile(name: str, parameters: Mapping[str, Any]) -> ScoringProfile:
    """A profile with these parameters changed. Raises ConfigError that says what is wrong with which value."""
    try:
        profile_of(name)
        if settled := sorted(NOT_OF_A_ROUND[name] & parameters.keys()):
            raise ConfigError(
                f"{', '.join(settled)} of profile {name!r} acts on a window of rounds, which is settled when weights "
                "are planned; a round scored alone does not change"
            )
        return profile_with(name, parameters)
    except (ValueError, OverflowError) as error:
        raise ConfigError(str(error)) from error


def profile_with(name: str, parameters: Mapping[str, Any]) -> ScoringProfile:
    """A profile with these parameters changed, be they written as whole numbers or not. Raises ValueError like
    `profile_of`.
    """
    defaults = {each.name: each.default for each in fields(profile_of(name))}
    return profile_of(name, {key: _as(value, defaults.get(key)) for key, value in parameters.items()})


def _as(value: Any, default: object) -> Any:
    """A whole number where the profile counts something: forms and JSON make 3.0 of it."""
    whole = isinstance(default, int) and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def is_tried(profile: ScoringProfile, used: Collection[str]) -> bool:
    """Whether a scorer is none that runs here: of other parameters than its profile has today, or of a profile that is
    not among `used`, those of SCORING_PROFILES.
    """
    return profile.name not in used or profile != profile_of(profile.name)


def typed_parameters(pairs: Sequence[str]) -> dict[str, float]:
    """Parameters of `name=value` texts. Raises ConfigError for one that is no such pair."""
    found: dict[str, float] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        try:
            number = float(value)
        except ValueError:
            separator = ""
        if not separator:
            raise ConfigError(f"--set {pair} is no parameter with a number; write it like --set relevance_gate=0.4")
        if name in found:
            raise ConfigError(f"--set {name} is given twice; give it once")
        found[name] = number
    return found


def profile_names() -> Sequence[str]:
    return tuple(PROFILES)
