"""Which scorers run here: the one that pays, those that only look on, and what an operator should know of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from loosh_pipeline.domain import Hotkey, ScorerVersion
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.profile import scorer_version
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.scoring.shadow import surviving_share
from loosh_pipeline.settings import Settings


def paying_profile(settings: Settings) -> ScoringProfile:
    return profile_of(settings.pay_profile)


def shadow_profiles(settings: Settings) -> tuple[ScoringProfile, ...]:
    """The other profiles of SCORING_PROFILES, which are scored and stored and decide nothing."""
    return tuple(profile_of(name) for name in settings.scoring_profiles if name != settings.pay_profile)


def paying_version(settings: Settings) -> ScorerVersion:
    """Of the scorer that pays, whatever model embeds: assets that an older one stands behind are stale."""
    return scorer_version(paying_profile(settings))


def shadow_versions(settings: Settings) -> str:
    """What the shadows are, whatever model embeds: assets of others are stale."""
    return " ".join(scorer_version(profile) for profile in shadow_profiles(settings)) or "none"


NETWORK_MODEL = "all-mpnet-base-v2"
"""The embedding model of the network's existing validator."""


def model_warning(settings: Settings) -> str | None:
    """Why the `network` profile differs from the live network here; None when it does not run, or does not."""
    named = settings.embedding_model_name or settings.embedding_model
    if NetworkProfile.name not in settings.scoring_profiles or Path(named).name == NETWORK_MODEL:
        return None
    return (
        f"profile {NetworkProfile.name} runs on the embedding model {named!r}; the live network embeds with "
        f"{NETWORK_MODEL}, so its figures will differ. Set EMBEDDING_MODEL to a directory or server of that model"
    )


def clipping_warning(own: Mapping[Hotkey, float], profile: str, others: Mapping[Hotkey, float], other: str) -> str:
    """What paying by one profile costs where the other validators pay by another, from weights of the same rounds."""
    trust = surviving_share(own, others)
    return (
        f"if the other validators pay by {other}, {1 - trust:.0%} of the weights paid by {profile} are clipped: "
        f"expected trust {trust:.2f}"
    )
