"""What every round of a window pays everybody who was asked, as arrays: what emissions are made of.

No frames and no tables: an auditor pays a window by the same functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.scoring.columns import WindowColumns
from loosh_pipeline.scoring.network.profile import NetworkProfile
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.scoring.signals import Flags, Floats, Ints
from loosh_pipeline.scoring.window import SettledColumns, settle_columns

MAX_LEFT_OUT = 0.05
"""Part of the rounds of a lookback that may be left out; by more, somebody could choose who is paid."""


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


@dataclass(frozen=True, eq=False)
class Payment:
    """A window paid, without the rounds that cannot be judged: k rows of m.

    `rows` (k,): their places among the m. `left_out`: the rounds that are not in it, sorted. `settled`: None for a
    profile that settles nothing.
    """

    columns: WindowColumns
    rows: Ints
    payout: Floats
    left_out: tuple[ChallengeId, ...]
    settled: SettledColumns | None

    def paid(self, at_ms: Ints, answered: Flags, measured: Flags) -> Paid:
        """What emissions are made of. Arrays (m,): of the rows of the window as it was given."""
        columns, rows = self.columns, self.rows
        return Paid(
            challenges=columns.challenges,
            hotkeys=columns.hotkeys,
            round=columns.round,
            miner=columns.miner,
            at_ms=at_ms[rows],
            answered=answered[rows],
            measured=measured[rows],
            payout=self.payout,
        )


def settles(profile: ScoringProfile) -> bool:
    """Whether a profile pays by the whole window, for which it needs the pairs of the rounds."""
    return not isinstance(profile, NetworkProfile)


def pay(columns: WindowColumns, alone: Floats, profile: ScoringProfile) -> Payment:
    """Pay the rounds of a window: the robust profile settles them first, the network's pays what each says.

    `alone` (m,): what each round says by itself. Where rounds are settled, those are left out whose pairs are not
    exactly those of their compared answers (`WindowColumns.mispaired`): a part of the pairs that was lost would make
    copies independent, and honest answers alone. Raises ValueError for a round that has a miner twice.
    """
    if isinstance(profile, NetworkProfile):
        return Payment(columns, np.arange(len(alone)), alone, (), None)
    left_out = tuple(columns.challenges[place] for place in columns.mispaired)
    rows, judged = columns.without(columns.mispaired)
    settled = settle_columns(judged, profile)
    payout = np.zeros(len(rows))
    payout[settled.rows] = settled.payout
    return Payment(judged, rows, payout, left_out, settled)
