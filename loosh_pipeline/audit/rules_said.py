"""What the policy did to one miner: each rule that acted on it or moved its share, and what it would have without."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from loosh_pipeline.audit.receipt import Moved, RuleSaid
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import Emission, Hotkey, Metagraph, NetworkView, Proposal
from loosh_pipeline.policy.filters import FILTERS, listed_validators, why_validator
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.propose import NEEDED, Traced, propose, traced
from loosh_pipeline.policy.ruled import SHARED, Step, normalised
from loosh_pipeline.scoring.network.profile import NetworkProfile

LEAST = 1e-9
"""A change of a share that counts for nothing."""
ALIKE = 1e-12
NOT_KEPT = "the chain keeps no weight for it"


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
    mine = Moved(miner, before.get(miner, 0.0), after.get(miner, 0.0))
    acts = [act for act in step.acts if act.hotkey == miner]
    if not acts and (abs(mine.change) <= LEAST or step.rule == SHARED):
        return None
    named = {act.rule for act in acts} or {step.rule}
    return RuleSaid(
        rule=acts[0].rule if acts else step.rule,
        before=mine.before,
        after=mine.after,
        reason="; ".join(act.reason for act in acts),
        without=_without(inputs, step.rule, named, miner),
        others=_others(before, after, step, mine),
    )


def _others(
    before: Mapping[Hotkey, float], after: Mapping[Hotkey, float], step: Step, mine: Moved
) -> tuple[Moved, ...]:
    """Who gained what the miner lost, or lost what it gained; of a rule that struck others those that it struck."""
    moved = [Moved(h, before.get(h, 0.0), after.get(h, 0.0)) for h in sorted(before.keys() | after.keys())]
    other_way = [each for each in moved if each.hotkey != mine.hotkey and each.change * mine.change < 0]
    if not any(act.hotkey == mine.hotkey for act in step.acts):
        struck = {act.hotkey for act in step.acts}
        other_way = [each for each in other_way if each.hotkey in struck]
    counting = (each for each in other_way if abs(each.change) > LEAST)
    return tuple(sorted(counting, key=lambda each: (-abs(each.change), each.hotkey)))


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
) -> str:
    """Why a miner is not among the weights; empty when it is. `outcomes`: how often it failed for which reason."""
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
    if emission is None:
        return _never_asked(miner, row, subnet, view)
    if emission.paid == 0:
        return _paid_nothing(emission, outcomes)
    if emission.emission <= 0:
        product = f"mean payout {emission.mean_payout:.4f}, ramp {emission.ramp:.3f}, coverage {emission.coverage:.3f}"
        return f"its emission is 0: {product}"
    if proposal is None:
        return f"{NOT_KEPT}, and the proposal behind these weights is not kept any more"
    return f"{NOT_KEPT}: {dropped or f'the proposal ({proposal.basis}) gave it nothing'}"


def _never_asked(miner: Hotkey, row: SubmissionRow, subnet: Metagraph | None, view: NetworkView | None) -> str:
    if miner == row.hotkey:
        return "it is this validator, which gives itself nothing"
    if subnet is None:
        return "it was not asked in the lookback"
    neuron = subnet.by_hotkey().get(miner)
    if neuron is None:
        return (
            f"it was not registered on subnet {subnet.netuid} at block {subnet.block}, and never asked in the lookback"
        )
    if why := why_validator(neuron, listed_validators(view, subnet.taken_at)):
        return f"validators are not asked: {why}"
    if not neuron.serves:
        return f"it was never asked: it served at no address at block {subnet.block}"
    return "it was never asked in the lookback: it was not drawn, or was not there when others were (see the looks)"


def _paid_nothing(emission: Emission, outcomes: Mapping[str, int]) -> str:
    counted = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in outcomes.items())
    if emission.answered == 0:
        return f"asked {emission.asked} times, it answered never{': ' + counted if counted else ''}"
    return f"none of its {emission.answered} answers was paid{': ' + counted if counted else ''}"
