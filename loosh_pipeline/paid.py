"""What every round of a window paid everybody who was asked, as arrays: what emissions are made of."""

from __future__ import annotations

from dataclasses import dataclass

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.scoring.signals import Flags, Floats, Ints


@dataclass(frozen=True, eq=False)
class Paid:
    """m rows, one for every miner asked in every round, in any order: arrays (m,).

    `challenges` and `hotkeys` are sorted, without duplicates; `round` and `miner` are places in them, and every hotkey
    has a row. `at_ms`: when the challenge came, in milliseconds since 1970 UTC. `measured`: the scorer scored the
    answer. `payout`: 0 for a failed ask.
    """

    challenges: tuple[ChallengeId, ...]
    hotkeys: tuple[Hotkey, ...]
    round: Ints
    miner: Ints
    at_ms: Ints
    answered: Flags
    measured: Flags
    payout: Floats
