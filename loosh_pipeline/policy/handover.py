"""From an existing validator's emissions to one's own: the first hours after a switch.

What was imported is the network's method's figures, in which there is no evidence, so it is never added to what was
earned here: it is a basis of its own. It stands first until half of the miners that it pays, of those who may still be
paid, are known to this validator, by asking or by looking for them in vain, and somebody earned in as many rounds as it
takes; and at the latest until its newest evaluation has left the lookback. Once weights of own rounds were set it is
over, whoever leaves later, and whatever is imported again.

Meanwhile whoever hides or is silent loses by it what it would lose of own pay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from loosh_pipeline.domain import Emission, Hotkey, Mode, RuleAct
from loosh_pipeline.policy.evidence import least_asked
from loosh_pipeline.policy.filters import EVIDENCE
from loosh_pipeline.policy.inputs import Imported, Inputs, LastVector, Presence
from loosh_pipeline.policy.miners import miners_of
from loosh_pipeline.policy.modes import lookbacks_h
from loosh_pipeline.policy.ruled import Ruled, Shares, without

IMPORTED, PRESENT, ANSWERING = "imported", "present", "answering"
EVERYBODY = Hotkey("")
"""Whom an act concerns that is about all."""
MANY_LOOKS = 30
"""Looks, an hour's by default, after which absence is no accident."""
MOSTLY = 0.5
"""Coverage below which a miner was absent for the most part."""


@dataclass(frozen=True, slots=True)
class Handover:
    """How far it has come. `known`: of the `paid` miners, how many were asked `least` times, or looked for in vain."""

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
            f"{self.least} times or looked for in vain, and {self.wanted} must be",
        )


def handover(inputs: Inputs, mode: Mode) -> Handover | None:
    """Where the imported rows still come first, how far it is until they do not; else None."""
    rows, policy, own = inputs.imported, inputs.policy, inputs.earned
    if rows is None or not _within(rows, inputs, mode) or is_over(rows.first_read_at, inputs.last):
        return None
    earned, least = own.by_hotkey(), max(1, policy.min_evidence_rounds)
    enough = often_enough(rows, least).shares
    paid = {hotkey for hotkey in miners_of(inputs) if enough.get(hotkey, 0.0) > 0}
    asked = {hotkey for hotkey in paid if hotkey in earned and earned[hotkey].asked >= least}
    absent = {hotkey for hotkey in paid if hotkey in inputs.presence and _hides(inputs.presence[hotkey])}
    found = Handover(rows, len(paid), len(asked | absent), least)
    suffices = own.rounds >= policy.min_rounds and any(each.emission > 0 for each in own.emissions)
    return None if (found.known >= found.wanted and suffices) or not paid else found


def _within(rows: Imported, inputs: Inputs, mode: Mode) -> bool:
    policy = inputs.policy
    longest_h = lookbacks_h(mode, policy.lookback_h, policy.emergency_lookback_h)[-1]
    return inputs.at - timedelta(hours=longest_h) <= rows.until <= inputs.at


def is_over(first_read_at: datetime, last: LastVector | None) -> bool:
    """Whether own rounds have made weights since the first rows were there. What is not known of own weights counts:
    what others had found is not to come back by a gap in the records.
    """
    return last is not None and last.own_at is not None and last.own_at > first_read_at


def _hides(presence: Presence) -> bool:
    return presence.looks >= MANY_LOOKS and presence.coverage < MOSTLY


def often_enough(rows: Imported, least: int) -> Ruled:
    """The averages, without those of whom so few evaluations speak that one lucky or made-up row would decide.

    The network's method takes a newcomer's first value for its average.
    """
    takes = least_asked(least, list(rows.counts.values()))
    reasons = {
        hotkey: f"{n} of the evaluations that were taken over name it; it takes {takes}"
        for hotkey, n in rows.counts.items()
        if n < takes
    }
    return without(rows.averages, EVIDENCE, reasons)


def present(shares: Shares, presence: Mapping[Hotkey, Presence]) -> Ruled:
    """Imported pay shrinks with the time that a miner is not there, as own pay does: who hides is never asked."""
    return _lessened(
        shares,
        PRESENT,
        {h: presence[h].coverage for h in shares if h in presence},
        {h: f"there for {presence[h].coverage:.1%} of {presence[h].looks} looks" for h in shares if h in presence},
    )


def answering(shares: Shares, earned: Mapping[Hotkey, Emission], least: int) -> Ruled:
    """Who leaves challenges of this validator unanswered has that much less of what it earned elsewhere."""
    asked = {h: earned[h] for h in shares if h in earned and earned[h].asked >= least}
    return _lessened(
        shares,
        ANSWERING,
        {h: each.answered / each.asked for h, each in asked.items()},
        {h: f"asked {each.asked} times since the switch, and answered {each.answered}" for h, each in asked.items()},
    )


def _lessened(shares: Shares, rule: str, parts: Mapping[Hotkey, float], reasons: Mapping[Hotkey, str]) -> Ruled:
    """Shares times a part of each; an act for each of them that becomes less."""
    after = {hotkey: share * parts.get(hotkey, 1.0) for hotkey, share in shares.items()}
    less = sorted(hotkey for hotkey, share in shares.items() if after[hotkey] < share)
    return Ruled(after, tuple(RuleAct(rule, h, shares[h], after[h], reasons[h]) for h in less))
