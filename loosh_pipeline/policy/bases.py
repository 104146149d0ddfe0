"""What shares are made of: the lookback, and what comes in its place when it says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from loosh_pipeline.domain import Emission, Hotkey, Mode, RuleAct
from loosh_pipeline.policy.basis import Basis
from loosh_pipeline.policy.handover import Handover, handover, often_enough
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.miners import payable
from loosh_pipeline.policy.minimum import SMALLEST
from loosh_pipeline.policy.modes import lookbacks_h
from loosh_pipeline.scoring.network.pay import shares as network_shares
from loosh_pipeline.scoring.network.profile import NetworkPay


@dataclass(frozen=True, slots=True)
class Start:
    """Shares that no rule has looked at yet, and how many rounds stand behind them. They need not sum to 1."""

    basis: Basis
    shares: Mapping[Hotkey, float]
    rounds: int = 0
    acts: tuple[RuleAct, ...] = ()


def unsound(emissions: Iterable[Emission]) -> list[str]:
    """Whose emission is no number from 0 on, and what it is: one of them would spoil every weight."""
    return [f"{e.hotkey} {e.emission}" for e in emissions if not (math.isfinite(e.emission) and e.emission >= 0)]


def starts(inputs: Inputs, mode: Mode) -> Iterator[Start]:
    """What a mode allows to start from, the best first. The next one is for when rules leave nobody of the one before.

    What an existing validator had found comes first until this one has found as much (`handover`).
    "Nothing is known" becomes weights only in an emergency: those that were set last and, only if the operator
    consents, all alike. Then those that were set last also come before what a few miners earned since an outage.
    """
    taken_over = handover(inputs, mode)
    if taken_over is not None:
        yield _imported(taken_over)
    if mode is not Mode.EMERGENCY:
        # Where it stands, nobody waits for WEIGHTS_MIN_ROUNDS: own rounds take its place only once they are enough.
        if taken_over is None or mode is not Mode.NORMAL or inputs.earned.rounds >= inputs.policy.min_rounds:
            yield from _earned(inputs, mode)
        return
    found = [*_earned(inputs, mode), *_last(inputs)]
    yield from found if suffices(inputs) else reversed(found)
    if inputs.policy.emergency_uniform:
        yield Start(Basis.UNIFORM, network_shares(sorted(inputs.known), {}, mode, NetworkPay()) or {})


def suffices(inputs: Inputs) -> bool:
    """Whether what was earned pays somebody, and half as many miners as the last weights, of those who are there still.

    The first rounds after an outage know a few miners only, who would have everything.
    """
    there = payable(inputs)
    paid = sum(each.emission > 0 and each.hotkey in there for each in inputs.earned.emissions)
    return 2 * paid >= max(len(there & _weighed(inputs)), 1)


def _weighed(inputs: Inputs) -> set[Hotkey]:
    """Who had a weight last time, but for what was burnt and weights that only made up a number."""
    shares = {} if inputs.last is None else inputs.last.shares
    least = 1.5 * SMALLEST * max(shares.values(), default=0.0)
    return {hotkey for hotkey, share in shares.items() if share > least and hotkey != inputs.policy.burn_hotkey}


def _earned(inputs: Inputs, mode: Mode) -> Iterator[Start]:
    policy, earned = inputs.policy, inputs.earned
    if earned.lookback_h <= lookbacks_h(mode, policy.lookback_h, policy.emergency_lookback_h)[-1]:
        basis = Basis.LOOKBACK if earned.lookback_h <= policy.lookback_h else Basis.LONGER_LOOKBACK
        yield Start(basis, {each.hotkey: each.emission for each in earned.emissions}, earned.rounds)


def _imported(found: Handover) -> Start:
    rows, enough = found.imported, often_enough(found.imported, found.least)
    return Start(Basis.IMPORTED, enough.shares, rows.evaluations, (found.act(), *enough.acts))


def _last(inputs: Inputs) -> Iterator[Start]:
    if inputs.last is not None:
        others = {h: share for h, share in inputs.last.shares.items() if h != inputs.policy.burn_hotkey}
        yield Start(Basis.LAST_VECTOR, others)
