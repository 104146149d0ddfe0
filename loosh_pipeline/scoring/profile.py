"""The parameters of the robust scorer, and the version that names them in every score row."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol, Self

from loosh_pipeline.domain import ScorerVersion

CODE_VERSION = 4
"""Raised with every change of scoring code that can change a payout."""

_RAMPS = (
    ("alike_low", "alike_high"),
    ("blatant_low", "blatant_high"),
    ("identical_low", "identical_high"),
    ("pair_low", "pair_high"),
    ("proven_low", "proven_high"),
    ("restated_low", "restated_high"),
)

MOST = 1e6
"""What a parameter is at most that has no limit of its own; beyond, arithmetic ends in infinities."""
_AT_MOST = {
    "track_passes": 100,
    "speed": 1,
    "relevance_gate": 1,
    "power": 1000,
    "vote_power": 1000,
    "track_power": 1000,
}


def number_said(name: str, value: object, at_most: float = MOST) -> str:
    """What is wrong with the value of a parameter; nothing where it is a number from 0 to so much."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"profile parameter {name} is {value!r}; give a finite number"
    except OverflowError:
        return f"profile parameter {name} has {len(str(value))} digits; give a number up to {at_most:g}"
    if value < 0:
        return f"profile parameter {name} is {value}; it cannot be negative"
    return f"profile parameter {name} is {value}; it is at most {at_most:g}" if value > at_most else ""


@dataclass(frozen=True, slots=True)
class RobustProfile:
    """Parameters of `score_round`. Raises ValueError for a value out of range.

    The defaults were measured on answers of 60 models to 150 English prompts under MiniLM embeddings: the gate
    belongs to that model, the wording ramps to that corpus.
    """

    name: ClassVar[str] = "robust"

    relevance_gate: float = 0.30
    """Cosine of question and answer below which an answer is to something else: no pay and no vote …"""
    proven_low: float = 0.4
    """… unless its miner has proved otherwise: within a window the gate sinks from this record on …"""
    proven_high: float = 0.7
    """… and is 0 from this one on: a right answer of one word is unlike its question, and so are its peers' answers."""
    proven_prior_rounds: float = 3.0
    """A record is the mean score of the other rounds, with as many rounds at 0 before the first."""
    meaning_weight: float = 2.0
    """Weight of likeness in meaning beside that in coverage and in wording."""
    coverage_weight: float = 1.0
    wording_weight: float = 1.0
    baseline_weight: float = 0.25
    """How much of an answer's likeness to answers of other challenges is taken off its agreement."""
    coverage_length_slope: float = 0.04
    """Coverage that an answer gains by being longer by a factor of e, whatever it says; taken off."""
    coverage_length_limit: float = 1.0
    """How far from the median, in natural logarithm, a length is corrected for."""
    blatant_low: float = 0.90
    """Wording likeness up to which one round calls two answers independent …"""
    blatant_high: float = 0.97
    """… and from which it calls them copies; linear between."""
    identical_low: float = 0.95
    """The same ramp for being one text, among which a vote is split evenly."""
    identical_high: float = 0.99
    evidence_full_words: float = 50.0
    """Words of the shorter answer from which likeness is full evidence of copying."""
    alike_low: float = 0.70
    """Wording likeness up to which a round says nothing against two identities …"""
    alike_high: float = 0.85
    """… and from which they were alike in it; linear between."""
    pair_low: float = 0.20
    """Rate of rounds in which two identities were alike up to which they are independent …"""
    pair_high: float = 0.40
    """… and from which they are one source."""
    pair_prior_alike: float = 0.02
    """The rate of honest pairs, which a pair is taken to have had …"""
    pair_prior_rounds: float = 5.0
    """… in as many rounds before its first."""
    mean_prior_wording: float = 0.40
    """The same for the mean likeness of a pair, by which copying is reported: that of honest pairs …"""
    mean_prior_rounds: float = 2.0
    """… in as many rounds."""
    track_power: float = 3.0
    """Within a window, a vote weighs the voter's mean score over its other rounds to this power …"""
    track_prior_rounds: float = 2.0
    """… with as many rounds at the average before its first …"""
    track_limit: float = 3.0
    """… and no round counting for more than this many averages."""
    track_passes: int = 2
    """How often track records are taken from scores that the former ones led to."""
    vote_power: float = 2.0
    """A vote weighs relevance to this power …"""
    restated_low: float = 0.85
    """… as long as the answer adds something to the question: from this relevance on its vote fades …"""
    restated_high: float = 0.98
    """… and from this one it only repeats the question, says nothing of its peers, and has no vote."""
    prior_votes: float = 0.5
    """Pseudo-votes at `prior_agreement`, so that with few peers a score stays neutral."""
    prior_agreement: float = 0.25
    power: float = 6.0
    """How steeply agreement is paid: answers differ little in it, and what is worse should earn clearly less."""
    speed: float = 0.05
    """Largest part of a score that being faster or slower than the median adds or takes."""
    context_rounds: int = 20
    """Rounds from which a context is used; before, background is zero and words weigh by `young_stop_weight`."""
    young_stop_weight: float = 0.25
    """Weight of a function word beside 1 for any other, while there are no document frequencies."""

    @classmethod
    def from_mapping(cls, parameters: Mapping[str, float]) -> Self:
        """A profile with the given parameters changed. Raises ValueError for one that does not exist."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(parameters) - known):
            raise ValueError(
                f"profile {cls.name!r} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        return cls(**parameters)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if said := number_said(name, value, _AT_MOST.get(name, MOST)):
                raise ValueError(said)
        for low, high in _RAMPS:
            if not getattr(self, low) < getattr(self, high):
                raise ValueError(f"{low} ({getattr(self, low)}) must be below {high} ({getattr(self, high)})")
        for name in ("context_rounds", "track_passes"):
            if getattr(self, name) != int(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; it counts something, give a whole number")
        if not self.view_weight > 0:
            raise ValueError("meaning_weight, coverage_weight and wording_weight are all 0; give one a weight")
        if not (self.power > 0 and self.evidence_full_words > 0 and self.speed < 1):
            raise ValueError(
                f"power ({self.power}) and evidence_full_words ({self.evidence_full_words}) must be above 0, "
                f"speed ({self.speed}) below 1"
            )

    @property
    def view_weight(self) -> float:
        return self.meaning_weight + self.coverage_weight + self.wording_weight


class Profile(Protocol):
    """A named scorer with its parameters: a frozen dataclass of numbers."""

    name: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


def scorer_version(profile: Profile, model_digest: str = "") -> ScorerVersion:
    """First 12 hex digits of the sha256 over profile name, parameters, `CODE_VERSION` and the embedding model."""
    content = json.dumps([profile.name, parameters_of(profile), CODE_VERSION, model_digest], sort_keys=True)
    return ScorerVersion(hashlib.sha256(content.encode()).hexdigest()[:12])


def parameters_of(profile: Profile) -> dict[str, float]:
    """The parameters by name, as floats, so that 1 and 1.0, which score alike, are one version."""
    return {name: float(value) for name, value in asdict(profile).items()}
