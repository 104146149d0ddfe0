"""What of a what-if does nothing, and why: so that "nothing moved" is not read as "it does not matter"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loosh_pipeline.audit.changes import Changes
from loosh_pipeline.audit.weighing_again import Weighed
from loosh_pipeline.domain import Hotkey, Mode
from loosh_pipeline.policy.basis import EARNED
from loosh_pipeline.policy.caps import ENTITY
from loosh_pipeline.policy.filters import VIEW_LASTS
from loosh_pipeline.policy.inputs import Inputs
from loosh_pipeline.policy.sybil import THRESHOLD
from loosh_pipeline.scoring.network.profile import NetworkPay, NetworkProfile
from loosh_pipeline.scoring.profiles import ScoringProfile

CHECKED = frozenset({"max_change", "min_miners", "max_flagged_share", "mixed_scorers"})
"""Act in checks alone, which say whether weights are set and not which."""
UNKNOWN_TO_NETWORK = frozenset(
    {
        "half_life_h",
        "full_evidence_rounds",
        "min_evidence_rounds",
        "entity_cap",
        "sybil_evidence",
        "max_penalised_share",
    }
)
"""What its method has none of."""
ROUNDING = 1e-12
"""A change of a share that counts for nothing."""
OF_EMERGENCY = frozenset({"emergency_lookback_h", "emergency_uniform"})
OF_PAY = "nothing that was earned stands behind these weights (basis {})"


def without_effect(
    changes: Changes, recorded: Inputs, profile: ScoringProfile, before: Weighed, after: Weighed
) -> Iterator[str]:
    """A line for each change that cannot change the weights here, and one where all of them together changed none."""
    for name in (*changes.rule, *changes.policy):
        if name == "min_rounds" and recorded.imported is None:
            yield "min_rounds has no effect here: it acts in taking over from a validator, and nothing was imported"
        elif why := _why_none(name, changes, profile, after):
            yield f"{name} has no effect here: {why}"
    if changes.parameters and after.proposal.basis not in EARNED:
        yield f"{', '.join(changes.parameters)} have no effect here: {OF_PAY.format(after.proposal.basis)}"
    if changes.no_sybil and (why := _why_no_suspicion(recorded, profile)):
        yield f"--no-sybil has no effect here: {why}"
    if (changes.rule or changes.policy or changes.parameters) and unmoved(before.weights, after.weights):
        yield f"changes nobody here: every weight stays as it was{_of_entities(changes, before, after)}"


def unmoved(before: Mapping[Hotkey, float], after: Mapping[Hotkey, float]) -> bool:
    """Whether two settings weigh everybody alike, but for rounding."""
    return all(abs(before.get(each, 0.0) - after.get(each, 0.0)) <= ROUNDING for each in before.keys() | after.keys())


def _of_entities(changes: Changes, before: Weighed, after: Weighed) -> str:
    """Why the cap of entities took nothing, if it was changed."""
    acts = (*before.proposal.acts, *after.proposal.acts)
    if "entity_cap" not in changes.policy or any(act.rule == ENTITY for act in acts):
        return ""
    cap = changes.policy["entity_cap"]
    return (
        f"; no entity of several hotkeys earns more than max(entity_cap={cap:g}, 2 / entities that earn, what the best "
        "single miner has)"
    )


def _why_none(name: str, changes: Changes, profile: ScoringProfile, after: Weighed) -> str:
    if name in CHECKED:
        return "it acts in the checks alone, which say whether weights are set; what they find is told beside"
    if name in changes.rule and after.proposal.basis not in EARNED:
        return OF_PAY.format(after.proposal.basis)
    if isinstance(profile, NetworkProfile):
        if name in UNKNOWN_TO_NETWORK and (name in changes.rule or after.proposal.basis in EARNED):
            return f"profile {profile.name} knows none"
        least = NetworkPay().lookback_hours
        if name == "lookback_h" and changes.policy[name] < least:
            return f"profile {profile.name} looks back {least:g} h at least"
    if name in OF_EMERGENCY and after.proposal.mode is not Mode.EMERGENCY:
        return f"it acts in an emergency, and the mode is {after.proposal.mode.value}"
    return ""


def _why_no_suspicion(recorded: Inputs, profile: ScoringProfile) -> str:
    view = recorded.view
    if view is None:
        return "nothing that the Challenge API said is on record"
    if not any(score >= THRESHOLD for score in view.sybil_scores.values()):
        return f"the Challenge API suspected nobody from {THRESHOLD:g} on"
    if recorded.at - view.taken_at > VIEW_LASTS and not isinstance(profile, NetworkProfile):
        return (
            f"what it said was {(recorded.at - view.taken_at).total_seconds() / 3600:.0f} h old, and believed no more"
        )
    return ""


def notes_of(changes: Changes, before: Weighed, after: Weighed) -> Iterator[str]:
    """What to know in reading what came out."""
    for side, weighed in (("before", before), ("after", after)):
        if weighed.proposal.basis not in EARNED:
            basis = weighed.proposal.basis
            yield f"{side}, weights rest on the basis {basis}: what is paid for rounds does not act on them"
    if changes.left_out:
        yield (
            "rounds were measured against the contexts as they were, which texts of whoever is left out helped to build"
        )
    if changes.no_sybil:
        yield "--no-sybil is about the Challenge API's suspicions; what copies lose by our own evidence stays"
