"""What the policy did to one miner: each rule that acted on it or moved its share, and what it would have without."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from loosh_pipeline.audit.receipt import Moved, RuleSaid
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import Emission, Hotkey, Metagraph, NetworkView, Proposal
from loosh_pipeline.policy.basis import EARNED, Basis
from loosh_pipeline.policy.filters import FILTERS, listed_validators, why_validator
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.propose import NEEDED, Traced, propose, traced
from loosh_pipeline.policy.ruled import SHARED, Step, normalised
from loosh_pipeline.scoring.network.profile import NetworkProfile

LEAST = 1e-9
"""A change of a share that counts for nothing."""
ALIKE = 1e-12
NOT_KEPT = "the chain keeps no weight for it"
NOT_DRAWN = "it was never asked in the lookback: it was not drawn, or was not there when others were (see the looks)"
MADE_OF: Mapping[str, str] = {
    Basis.IMPORTED: "they are figures of the validator that was here before (basis imported), which gave it nothing",
    Basis.LAST_VECTOR: "they are the weights set last (basis last_vector), in which it had none",
    Basis.UNIFORM: "all eligible miners have the same (basis uniform), and it was none of them",
    Basis.NOTHING: "nobody had anything to be given (basis nothing)",
}
"""What proposals are of that no round decided, and what that means for who has no weight."""


def comes_out_again(proposal: Proposal, inputs: Inputs) -> Traced | None:
    """The steps of a stored proposal; None where its inputs lead to other shares, as under rules of another release."""
    found = traced(inputs)
    said = found.proposal.shares
    if said.keys() != proposal.shares.keys() or any(abs(said[h] - proposal.shares[h]) > ALIKE for h in said):
        return None
    return found


def rules_said(found: Traced, inputs: Inputs, miner: Hotkey) -> tuple[RuleSaid, ...]:
    """Every step that acted on the miner or moved its share of the whole, in order."""
    return tuple(said for step in found.steps if (said := _said(step, inputs, miner)) is not None)


def _said(step: Step, inputs: Inputs, miner: Hotkey) -> RuleSaid | None:
    before, after = normalised(step.before), normalised(step.after)
    changes = {h: after.get(h, 0.0) - before.get(h, 0.0) for h in {miner, *before, *after}}
    acts = [act for act in step.acts if act.hotkey == miner]
    if not acts and (abs(changes[miner]) <= LEAST or step.rule == SHARED):
        return None
    named = {act.rule for act in acts} or {step.rule}
    return RuleSaid(
        rule=acts[0].rule if acts else step.rule,
        before=before.get(miner, 0.0),
        after=after.get(miner, 0.0),
        reason="; ".join(act.reason for act in acts),
        without=_without(inputs, step.rule, named, miner),
        others=tuple(_others(changes, before, miner)),
        moved=math.fsum(change for change in changes.values() if change > 0),
    )


def _others(changes: Mapping[Hotkey, float], before: Mapping[Hotkey, float], miner: Hotkey) -> Iterator[Moved]:
    """Who gained what the miner lost, or lost what it gained, the most first."""
    mine = changes[miner]
    same_way = math.fsum(change for change in changes.values() if change * mine > 0)
    other_way = {h: change for h, change in changes.items() if change * mine < 0 and abs(change) > LEAST}
    for hotkey in sorted(other_way, key=lambda h: (-abs(other_way[h]), h)):
        was, change = before.get(hotkey, 0.0), other_way[hotkey]
        yield Moved(hotkey, was, was + change, change * (mine / same_way))


def _without(inputs: Inputs, rule: str, named: Collection[str], miner: Hotkey) -> float | None:
    """The share it would have been given; None for a rule that cannot be left out, or not alone."""
    if NEEDED & {rule, *named} or (inputs.profile == NetworkProfile.name and FILTERS & {rule, *named}):
        return None
    return propose(inputs, {rule}).shares.get(miner, 0.0)


def why_no_weight(
    miner: Hotkey,
    row: SubmissionRow,
    proposal: Proposal | None,
    emissions: Sequence[Emission],
    outcomes: Mapping[str, int],
    subnet: Metagraph | None,
    view: NetworkView | None,
    there: tuple[int, int] | None = None,
) -> str:
    """Why a miner is not among the weights; empty when it is. `outcomes`: how often it failed for which reason.
    `there`: in how many of how many looks it was found; None where it was looked for in none.
    """
    plan = row.plan
    if miner in plan.hotkeys.values():
        return ""
    emission = next((each for each in emissions if each.hotkey == miner), None)
    struck = (
        () if proposal is None else [a for a in proposal.acts if a.hotkey == miner and a.before > 0 and a.after <= 0]
    )
    for act in struck:
        return f"the rule {act.rule} took all of it: {act.reason}"
    if (dropped := plan.dropped.get(miner, "")) and dropped != "weight is 0":
        return dropped
    if proposal is not None and proposal.basis not in EARNED:
        not_asked = "" if emission is not None else cannot_be_asked(miner, row.hotkey, subnet, view)
        return not_asked or f"these weights are not made of what was earned here: {MADE_OF[proposal.basis]}"
    if emission is None:
        return why_not_asked(miner, row.hotkey, subnet, view, there)
    if emission.paid == 0:
        return _paid_nothing(emission, outcomes)
    if emission.emission <= 0:
        product = f"mean payout {emission.mean_payout:.4f}, ramp {emission.ramp:.3f}, coverage {emission.coverage:.3f}"
        return f"its emission is 0: {product}"
    if proposal is None:
        return f"{NOT_KEPT}, and the proposal behind these weights is not kept any more"
    return f"{NOT_KEPT}: {dropped or f'the proposal ({proposal.basis}) gave it nothing'}"


def why_not_asked(
    miner: Hotkey, own: Hotkey, subnet: Metagraph | None, view: NetworkView | None, there: tuple[int, int] | None
) -> str:
    """Why a miner was never asked in the lookback. `there`: as of `why_no_weight`."""
    if why := cannot_be_asked(miner, own, subnet, view):
        return why
    if there is not None and there[0] == 0:
        return (
            "it was not there in the one look there was"
            if there[1] == 1
            else f"it was not there in any of {there[1]} looks"
        )
    return (
        NOT_DRAWN
        if there is None
        else f"it was never asked, though there in {there[0]} of {there[1]} looks: it was not drawn"
    )


def cannot_be_asked(miner: Hotkey, own: Hotkey, subnet: Metagraph | None, view: NetworkView | None) -> str:
    """Why a miner cannot have been asked; empty where it could."""
    if miner == own:
        return "it is this validator, which gives itself nothing"
    if subnet is None:
        return ""
    neuron = subnet.by_hotkey().get(miner)
    if neuron is None:
        return (
            f"it was not registered on subnet {subnet.netuid} at block {subnet.block}, and never asked in the lookback"
        )
    if why := why_validator(neuron, listed_validators(view, subnet.taken_at)):
        return f"validators are not asked: {why}"
    if not neuron.serves:
        return f"it was never asked: it served at no address at block {subnet.block}"
    return ""


def _paid_nothing(emission: Emission, outcomes: Mapping[str, int]) -> str:
    counted = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in outcomes.items())
    if emission.answered == 0:
        return f"asked {emission.asked} times, it answered never{': ' + counted if counted else ''}"
    return f"none of its {emission.answered} answers was paid{': ' + counted if counted else ''}"
