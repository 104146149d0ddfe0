"""What a proposal is made of, and the operator's choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from loosh_pipeline.domain import Emission, Hotkey, Metagraph, Mode, NetworkView, OneSource, ScorerVersion
from loosh_pipeline.policy.basis import EARNED
from loosh_pipeline.policy.modes import mode_of


@dataclass(frozen=True, slots=True)
class Policy:
    """The parameters of all rules and checks; docs/weights.md says why the defaults are what they are."""

    degraded_at: float = 0.8
    emergency_at: float = 0.9
    lookback_h: float = 24.0
    emergency_lookback_h: float = 168.0
    min_rounds: int = 3
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
    `table`: under which day and name it is kept.
    """

    at: datetime | None = None
    lookback_h: float = 0.0
    rounds: int = 0
    emissions: tuple[Emission, ...] = ()
    sources: tuple[OneSource, ...] = ()
    versions: Mapping[ScorerVersion, int] = field(default_factory=dict)
    table: str = ""

    def by_hotkey(self) -> dict[Hotkey, Emission]:
        return {each.hotkey: each for each in self.emissions}


@dataclass(frozen=True, slots=True)
class LastVector:
    """The weights that were set last, by hotkey; they sum to 1.

    `rounds` and `basis`: what they were made of, of the proposal behind them; None where it is not known. `own_before`:
    when the newest ones before them that rested on own rounds, or on what is not known, were set.
    """

    set_at: datetime
    shares: Mapping[Hotkey, float]
    rounds: int | None = None
    basis: str | None = None
    own_before: datetime | None = None

    @property
    def own_at(self) -> datetime | None:
        """When weights were last set that own rounds made, as far as is known."""
        return self.set_at if self.basis is None or self.basis in EARNED else self.own_before


@dataclass(frozen=True, slots=True)
class Presence:
    """How much of the time a miner was there, from 0 to 1, and in how many looks it was looked for."""

    coverage: float
    looks: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What the network's method makes of evaluations that were taken over from an existing validator.

    `averages`: its moving average of every hotkey, as of `until`, the newest evaluation; `since`: the oldest that
    counts. `counts`: how many evaluations paid each hotkey or named it. `files`: sha256 of the files they were read
    from, and `first_read_at` when the first rows were that a lookback may take.
    """

    since: datetime
    until: datetime
    evaluations: int
    averages: Mapping[Hotkey, float]
    counts: Mapping[Hotkey, int]
    files: tuple[str, ...]
    first_read_at: datetime


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a proposal hangs on, as it was at one time.

    `subnet`: the snapshot. `view`: what the Challenge API said last. `known`: who ever answered a challenge.
    `answered_at`: the address of whoever answered when it was asked last. `imported`: of the validator that ran before
    this one, and `presence` of whom was looked for since, which counts beside it. `waived`: checks that the operator
    waives for this one run.
    """

    at: datetime
    profile: str
    subnet: Metagraph
    own: Hotkey
    earned: Earned = Earned()
    view: NetworkView | None = None
    last: LastVector | None = None
    known: frozenset[Hotkey] = frozenset()
    answered_at: Mapping[Hotkey, str] = field(default_factory=dict)
    imported: Imported | None = None
    presence: Mapping[Hotkey, Presence] = field(default_factory=dict)
    waived: tuple[str, ...] = ()
    policy: Policy = Policy()

    @property
    def mode(self) -> Mode:
        """How pressing it is at the block of the snapshot."""
        return mode_of(self.subnet, self.own, self.policy.degraded_at, self.policy.emergency_at)

    @property
    def proved(self) -> dict[Hotkey, str]:
        """Addresses that count as evidence: of who was paid in the lookback, and answered there when asked last."""
        paid = {each.hotkey for each in self.earned.emissions if each.paid > 0}
        return {hotkey: ip for hotkey, ip in self.answered_at.items() if hotkey in paid}
