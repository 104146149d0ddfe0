"""What a proposal is made of, and the operator's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from loosh_pipeline.domain import Emission, Hotkey, Metagraph, NetworkView, OneSource, ScorerVersion


@dataclass(frozen=True, slots=True)
class Policy:
    """The parameters of all rules and checks; docs/weights.md says why the defaults are what they are."""

    degraded_at: float = 0.8
    emergency_at: float = 0.9
    lookback_h: float = 24.0
    emergency_lookback_h: float = 168.0
    min_evidence_rounds: int = 3
    sybil_evidence: bool = True
    max_penalised_share: float = 0.33
    entity_cap: float = 0.25
    max_share: float = 1.0
    burn_hotkey: Hotkey | None = None
    burn_share: float = 0.0
    emergency_uniform: bool = False
    min_miners: int = 1
    max_flagged_share: float = 0.5
    max_change: float = 0.5
    mixed_scorers: bool = False


@dataclass(frozen=True, slots=True)
class Earned:
    """What miners earned over one lookback, and which of them are taken for one source.

    `at`: when it was worked out; None when nothing ever was. `versions`: how many rounds each scorer version scored.
    """

    at: datetime | None = None
    lookback_h: float = 0.0
    rounds: int = 0
    emissions: tuple[Emission, ...] = ()
    sources: tuple[OneSource, ...] = ()
    versions: Mapping[ScorerVersion, int] = field(default_factory=dict)

    def by_hotkey(self) -> dict[Hotkey, Emission]:
        return {each.hotkey: each for each in self.emissions}


@dataclass(frozen=True, slots=True)
class LastVector:
    """The weights that were set last, by hotkey; they sum to 1."""

    set_at: datetime
    shares: Mapping[Hotkey, float]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a proposal hangs on, as it was at one time.

    `subnet`: the snapshot. `view`: what the Challenge API said last. `known`: who ever answered a challenge. `waived`:
    checks that the operator waives for this one run.
    """

    at: datetime
    profile: str
    subnet: Metagraph
    own: Hotkey
    earned: Earned = Earned()
    view: NetworkView | None = None
    last: LastVector | None = None
    known: frozenset[Hotkey] = frozenset()
    waived: tuple[str, ...] = ()
    policy: Policy = Policy()
