"""The scorers by name."""

from __future__ import annotations

from collections.abc import Mapping

from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.profile import RobustProfile

ScoringProfile = RobustProfile | NetworkProfile

PROFILES: Mapping[str, type[RobustProfile] | type[NetworkProfile]] = {
    RobustProfile.name: RobustProfile,
    NetworkProfile.name: NetworkProfile,
}


def profile_of(name: str, parameters: Mapping[str, float] | None = None) -> ScoringProfile:
    """A profile by name, with parameters changed. Raises ValueError for a name or a parameter that does not exist."""
    if name not in PROFILES:
        raise ValueError(f"there is no scoring profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name].from_mapping(parameters or {})
