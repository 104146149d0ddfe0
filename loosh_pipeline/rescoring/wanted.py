"""Which scorer challenges are to be scored by again, from what somebody typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from loosh_pipeline.errors import ConfigError
from loosh_pipeline.scoring.profiles import PROFILES, ScoringProfile, profile_of


def wanted_profile(name: str, parameters: Mapping[str, Any]) -> ScoringProfile:
    """A profile with these parameters changed. Raises ConfigError that says what is wrong with which value."""
    try:
        defaults = {each.name: each.default for each in fields(profile_of(name))}
        return profile_of(name, {key: _as(value, defaults.get(key)) for key, value in parameters.items()})
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _as(value: Any, default: object) -> Any:
    """A whole number where the profile counts something: forms and JSON make 3.0 of it."""
    whole = isinstance(default, int) and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def is_tried(profile: ScoringProfile) -> bool:
    """Whether a scorer has other parameters than its profile has today: then it is tried, and must never pay."""
    return profile != profile_of(profile.name)


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
