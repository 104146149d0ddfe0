"""From an existing validator's emissions to one's own: the first hours after a switch.

What was imported is the network's method's figures, in which there is no evidence, so it is never added to what was
earned here: it is a basis of its own. It stands first until half of the miners that it pays, of those who may still be
paid, were asked by this validator as often as the policy wants evidence, and somebody earned; and at the latest until
its newest evaluation has left the lookback. Once weights of own rounds were set it is over, whoever leaves later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from loosh_pipeline.domain import Emission, Hotkey, Mode, RuleAct
from loosh_pipeline.policy.basis import EARNED
from loosh_pipeline.policy.inputs import Imported, Inputs
from loosh_pipeline.policy.miners import miners_of
from loosh_pipeline.policy.modes import lookbacks_h
from loosh_pipeline.policy.ruled import Ruled, Shares, without

IMPORTED, ANSWERING = "imported", "answering"
EVERYBODY = Hotkey("")
"""Whom an act concerns that is about all."""


@dataclass(frozen=True, slots=True)
class Handover:
    """How far it has come. `known`: of the `paid` miners, how many were asked `least` times by this validator."""

    imported: Imported
    paid: int
    known: int
    least: int

    @property
    def wanted(self) -> int:
        """How many must be known."""
        return (self.paid + 1) // 2

    def act(self) -> RuleAct:
        """What a stranger needs in order to find the rows that shares were made of."""
        rows = self.imported
        return RuleAct(
            IMPORTED,
            EVERYBODY,
            0.0,
            0.0,
            f"shares are the network's moving average of {rows.evaluations} evaluations of an existing validator, "
            f"{rows.since:%Y-%m-%d %H:%M} to {rows.until:%Y-%m-%d %H:%M} UTC, from imported_emissions (sha256 of the "
            f"file: {', '.join(rows.files)}); {self.known} of the {self.paid} miners that it pays were asked here "
            f"{self.least} times, and {self.wanted} must be",
        )


def handover(inputs: Inputs, mode: Mode) -> Handover | None:
    """Where the imported rows still come first, how far it is until they do not; else None."""
    rows, policy = inputs.imported, inputs.policy
    if rows is None or not _within(rows, inputs, mode) or _was_over(rows, inputs):
        return None
    earned, least = inputs.earned.by_hotkey(), max(1, policy.min_evidence_rounds)
    paid = {hotkey for hotkey in miners_of(inputs) if rows.averages.get(hotkey, 0.0) > 0}
    known = sum(hotkey in earned and earned[hotkey].asked >= least for hotkey in paid)
    found = Handover(rows, len(paid), known, least)
    over = known >= found.wanted and any(each.emission > 0 for each in inputs.earned.emissions)
    return None if over or not paid else found


def _within(rows: Imported, inputs: Inputs, mode: Mode) -> bool:
    policy = inputs.policy
    longest_h = lookbacks_h(mode, policy.lookback_h, policy.emergency_lookback_h)[-1]
    return inputs.at - timedelta(hours=longest_h) <= rows.until <= inputs.at


def _was_over(rows: Imported, inputs: Inputs) -> bool:
    """Whether own rounds have made weights since the rows were there."""
    last = inputs.last
    return last is not None and last.basis in EARNED and last.set_at > rows.read_at


def answering(shares: Shares, earned: Mapping[Hotkey, Emission], least: int) -> Ruled:
    """Who has answered none of this validator's challenges has nothing of what it earned elsewhere."""
    silent = {h: earned[h].asked for h in shares if h in earned and earned[h].asked >= least and not earned[h].answered}
    return without(
        shares, ANSWERING, {h: f"asked {n} times since the switch, and never answered" for h, n in silent.items()}
    )
