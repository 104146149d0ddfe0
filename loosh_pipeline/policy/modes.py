"""How pressing it is to set weights, by the chain's own cutoff, and what that relaxes."""

from __future__ import annotations

from collections.abc import Sequence

from loosh_pipeline.domain import Hotkey, Metagraph, Mode
from loosh_pipeline.policy.evidence import least_asked
from loosh_pipeline.scoring.network.pay import mode_for
from loosh_pipeline.scoring.network.profile import NetworkPay


def mode_of(metagraph: Metagraph, own_hotkey: Hotkey, degraded_at: float = 0.8, emergency_at: float = 0.9) -> Mode:
    """The mode at the block of a snapshot, by the part of the activity cutoff since the last weights.

    NORMAL for who never set any (registration counts as an update on the chain), is not registered, or has no cutoff:
    there is nothing to lose. Raises ValueError for parts that are not from 0 to 1, or in the wrong order.
    """
    pay = NetworkPay(degraded_at=degraded_at, emergency_at=emergency_at)
    own = metagraph.by_hotkey().get(own_hotkey)
    if own is None or own.last_update <= own.registered_block or metagraph.activity_cutoff_blocks == 0:
        return Mode.NORMAL
    return mode_for(metagraph.block - own.last_update, metagraph.activity_cutoff_blocks, pay)


def lookbacks_h(mode: Mode, lookback_h: float, emergency_lookback_h: float) -> tuple[float, ...]:
    """The lookbacks that a mode may take, in hours; a longer one only where the one before pays too few."""
    if mode is Mode.NORMAL:
        return (lookback_h,)
    doubled = (lookback_h, 2 * lookback_h)
    if mode is Mode.DEGRADED or emergency_lookback_h <= doubled[-1]:
        return doubled
    return (*doubled, emergency_lookback_h)


def min_evidence_rounds(mode: Mode, normally: int, asked: Sequence[int]) -> int:
    """How often a miner must have been asked to be paid. `asked`: how often each of all was."""
    return least_asked(normally, asked) if mode is Mode.NORMAL else 1


def only_warns(mode: Mode) -> bool:
    """Whether the checks that may be waived only warn."""
    return mode is not Mode.NORMAL
