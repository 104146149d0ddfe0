"""What must hold of a proposal before money moves. Each check says what it looks at, and what to do when it fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from loosh_pipeline.domain import Hotkey, Mode, Proposal
from loosh_pipeline.errors import ConfigError
from loosh_pipeline.policy.basis import EARNED
from loosh_pipeline.policy.burn import why_not_burnt
from loosh_pipeline.policy.filters import FILTERS
from loosh_pipeline.policy.inputs import Inputs, LastVector
from loosh_pipeline.policy.miners import miners_of
from loosh_pipeline.policy.minimum import PADDING, SMALLEST, held, required, to_share
from loosh_pipeline.policy.modes import only_warns
from loosh_pipeline.policy.ruled import normalised
from loosh_pipeline.policy.sybil import one_source, penalised

SUM_TOLERANCE = 1e-9
LASTS = timedelta(hours=1)
"""Age from which neither a proposal nor what it was made of may be set any more."""
WAIVABLE = ("change", "flagged_share", "one_scorer_version")
"""Checks of judgement and not of soundness: an operator may waive them for one run, and in need they only warn."""
NAMED = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A check and what it found. `blocks`: it failed, and nothing may be set."""

    name: str
    passed: bool
    blocks: bool
    reason: str


def _finite(proposal: Proposal, _: Inputs) -> Verdict:
    """Every share is a number. If not, a payout of the lookback is broken: see settled_scores, rescore its round."""
    wrong = [hotkey for hotkey, share in proposal.shares.items() if not math.isfinite(share)]
    return Verdict(not wrong, f"not finite: {_named(wrong)}" if wrong else "all finite")


def _no_negative(proposal: Proposal, _: Inputs) -> Verdict:
    """No share is below 0. If one is, a payout of the lookback is broken: see settled_scores, rescore its round."""
    wrong = [f"{hotkey} {share}" for hotkey, share in proposal.shares.items() if share < 0]
    return Verdict(not wrong, f"negative: {_named(wrong)}" if wrong else "none negative")


def _sums_to_one(proposal: Proposal, _: Inputs) -> Verdict:
    """The shares are parts of one whole. That nobody has any is not said here."""
    if not any(proposal.shares.values()):
        return Verdict(True, "there are none, see not_all_zero")
    total = math.fsum(proposal.shares.values())
    return Verdict(abs(total - 1.0) <= SUM_TOLERANCE, f"shares sum to {total!r}")


def _not_all_zero(proposal: Proposal, inputs: Inputs) -> Verdict:
    """Somebody is to be paid; else the chain keeps the weights it has. "Nothing is known" is never made weights of."""
    paid = sum(share > 0 for share in proposal.shares.values())
    if paid:
        return Verdict(True, f"{paid} of {len(proposal.shares)} are paid")
    earned = inputs.earned
    return Verdict(
        False,
        f"nobody is left to be paid: {sum(e.emission > 0 for e in earned.emissions)} of {len(earned.emissions)} miners "
        f"earned anything in {earned.rounds} rounds, and {len(proposal.acts)} acts of the policy followed "
        "(policy_acts). Weights stay as they are; see whether challenges come and miners answer",
    )


def _enough_miners(proposal: Proposal, inputs: Inputs) -> Verdict:
    """There are as many weights as the chain takes at least and, padding aside, miners as WEIGHTS_MIN_MINERS."""
    there, wanted = held(proposal.shares), required(inputs.subnet)
    miners = {*there} - _padded(proposal) - {inputs.policy.burn_hotkey}
    least = 0 if inputs.policy.burn_share >= 1 else inputs.policy.min_miners
    found = f"{len(there)} weights, and the chain asks for {wanted}; for {len(miners)} miners, of {least} at least"
    if len(there) >= wanted and len(miners) >= least:
        return Verdict(True, found)
    return Verdict(
        False,
        f"{found} (WEIGHTS_MIN_MINERS). More miners must earn: see availability and MAX_MINERS, or lengthen "
        "EMISSIONS_LOOKBACK_H. The chain's number is made up with the smallest weights, for serving miners that ever "
        "answered and are not suspected; there were no more",
    )


def _within_chain_limit(proposal: Proposal, inputs: Inputs) -> Verdict:
    """No weight is more of all than the chain lets one be. In an emergency, burn and number of miners give way."""
    most, burnt = inputs.subnet.max_weight_share, inputs.policy.burn_hotkey
    shares = normalised({hotkey: proposal.shares[hotkey] for hotkey in held(proposal.shares)})
    over = [f"{hotkey} {share:.1%}" for hotkey, share in sorted(shares.items()) if share > most + SMALLEST]
    if not over:
        return Verdict(True, f"the largest is {max(shares.values(), default=0.0):.1%}, and {most:.1%} is allowed")
    found = f"the chain lets one weight be {most:.1%} of all: {_named(over)}"
    if burnt is not None and shares.get(burnt, 0.0) > most:
        return Verdict(False, f"{found}. Lower WEIGHTS_BURN_SHARE; in an emergency it is cut to that")
    takes = f"It takes {to_share(most)} weights, and there are {len(shares)}" if most > 0 else "That allows none"
    return Verdict(
        False,
        f"{found}. {takes}: more miners must earn, see availability and MAX_MINERS. In an emergency the number is made "
        "up of serving miners that ever answered and are not suspected, as far as there are any",
    )


def _flagged_share(proposal: Proposal, inputs: Inputs) -> Verdict:
    """Not too many of those who are paid are taken for one source with another, or penalised."""
    paid = _paid(proposal, inputs)
    flagged = sorted(paid & (one_source(inputs.earned.sources).keys() | penalised(proposal.acts)))
    limit, share = inputs.policy.max_flagged_share, len(flagged) / len(paid) if paid else 0.0
    found = f"{len(flagged)} of {len(paid)} miners ({share:.0%}) are taken for copies or penalised"
    if share <= limit:
        return Verdict(True, found)
    return Verdict(
        False,
        f"{found}, and WEIGHTS_MAX_FLAGGED_SHARE is {limit:.0%}: {_named(flagged)}. Look at the tables sources and "
        "accusations; if they are right, waive flagged_share for one run",
    )


def _change(proposal: Proposal, inputs: Inputs) -> Verdict:
    """The weights that were set last are not turned over: less than WEIGHTS_MAX_CHANGE goes to others."""
    last, limit = inputs.last, inputs.policy.max_change
    if last is None:
        return Verdict(True, "no weights were set before, so there is nothing to compare with")
    before, age_h = _still_there(last, proposal, inputs), (inputs.at - last.set_at).total_seconds() / 3600
    if reason := _incomparable(last, age_h, proposal, inputs):
        return Verdict(True, reason)
    if not before:
        return Verdict(True, "nobody whom the last weights were for may be paid any more")
    change, gone = total_variation(proposal.shares, before), 1 - math.fsum(last.shares[h] for h in before)
    found = f"{change:.0%} of the weight goes to others than {age_h:.1f} h ago"
    if gone > SUM_TOLERANCE:
        found += f", without the {gone:.0%} of who may not be paid any more"
    if change < limit or limit >= 1:
        return Verdict(True, found)
    return Verdict(
        False,
        f"{found}, and WEIGHTS_MAX_CHANGE is {limit:.0%}; most: {_moved(proposal.shares, before)}. Compare "
        "emissions with what miners answered; if it is right, waive change for one run",
    )


def _incomparable(last: LastVector, age_h: float, proposal: Proposal, inputs: Inputs) -> str:
    """Why the last weights are nothing to hold others to; empty when they are."""
    if age_h > inputs.policy.lookback_h:
        return f"the last weights are {age_h:.0f} h old; no round of theirs counts any more"
    if last.basis is not None and last.basis not in EARNED:
        return f"the last weights were of the basis {last.basis}; no round of ours stood behind them"
    if last.rounds is not None and 2 * last.rounds < proposal.rounds:
        return f"the last weights rested on {last.rounds} rounds and these on {proposal.rounds}: too few to be held to"
    return ""


def _still_there(last: LastVector, proposal: Proposal, inputs: Inputs) -> dict[Hotkey, float]:
    """The last weights as shares of those who may still be paid: leaving the subnet is no change of opinion."""
    out = {act.hotkey for act in proposal.acts if act.rule in FILTERS}
    there = (miners_of(inputs) - out) | ({inputs.policy.burn_hotkey} & inputs.subnet.by_hotkey().keys())
    return normalised({hotkey: share for hotkey, share in last.shares.items() if share > 0 and hotkey in there})


def _one_scorer_version(proposal: Proposal, inputs: Inputs) -> Verdict:
    """All rounds of the lookback were scored by one version, or WEIGHTS_MIXED_SCORERS says that they need not be."""
    versions = sorted(inputs.earned.versions.items(), key=lambda each: (-each[1], each[0]))
    found = ", ".join(f"{rounds} rounds by {version}" for version, rounds in versions) or "no round"
    if len(versions) < 2 or inputs.policy.mixed_scorers:
        return Verdict(True, found)
    return Verdict(
        False,
        f"{found}: payouts of different scorers are not in one coin. Backfill consensus_scores over the partitions of "
        f"the last {inputs.earned.lookback_h:g} h (no miner is asked; embeddings first if the model changed), set "
        "WEIGHTS_MIXED_SCORERS=true, or waive one_scorer_version for one run",
    )


def _evidence(proposal: Proposal, inputs: Inputs) -> Verdict:
    """Behind every weight stands a paid round, but behind what is burnt, padded or not taken from rounds at all."""
    paid, earned = _paid(proposal, inputs), inputs.earned.by_hotkey()
    if proposal.basis not in EARNED:
        return Verdict(True, f"the basis is {proposal.basis}: no round of ours stands behind {len(paid)} weights")
    wrong = sorted(h for h in paid - _padded(proposal) if h not in earned or earned[h].paid < 1)
    return Verdict(not wrong, f"a weight without a paid round: {_named(wrong)}" if wrong else "a round behind each")


def _burn_registered(proposal: Proposal, inputs: Inputs) -> Verdict:
    """Whoever WEIGHTS_BURN_HOTKEY names can be given weight. In an emergency it is left out instead."""
    policy = inputs.policy
    if policy.burn_hotkey is None:
        return Verdict(True, "nothing is burnt")
    reason = why_not_burnt(policy.burn_hotkey, inputs.subnet, inputs.own)
    if not reason:
        return Verdict(True, f"{policy.burn_hotkey} gets {policy.burn_share:.1%}")
    said = "left out for this emergency" if inputs.mode is Mode.EMERGENCY else "correct it, or unset both settings"
    return Verdict(inputs.mode is Mode.EMERGENCY, f"{reason}; {said}")


def _recent(proposal: Proposal, inputs: Inputs) -> Verdict:
    """Proposal and emissions are of the last hour. If not, materialize emissions and weight_proposal again."""
    times = {"proposal": proposal.made_at, "emissions": inputs.earned.at}
    old = [f"the {what} of {at:%Y-%m-%d %H:%M} UTC" for what, at in times.items() if at and abs(inputs.at - at) > LASTS]
    return Verdict(not old, f"not of this hour: {' and '.join(old)}; run the job set_weights" if old else "recent")


CHECKS: Mapping[str, Callable[[Proposal, Inputs], Verdict]] = {
    "finite": _finite,
    "no_negative": _no_negative,
    "sums_to_one": _sums_to_one,
    "not_all_zero": _not_all_zero,
    "enough_miners": _enough_miners,
    "within_chain_limit": _within_chain_limit,
    "flagged_share": _flagged_share,
    "change": _change,
    "one_scorer_version": _one_scorer_version,
    "evidence_behind_each": _evidence,
    "burn_registered": _burn_registered,
    "recent": _recent,
}


def judged(proposal: Proposal, inputs: Inputs) -> list[Judged]:
    """What every check finds. Of `inputs` those of the moment count, not those that the proposal was made of: so does
    the mode, for weights may have been set since.
    """
    found = []
    for name, check in CHECKS.items():
        verdict = check(proposal, inputs)
        waived = name in proposal.overrides
        lenient = name in WAIVABLE and (waived or only_warns(inputs.mode))
        why = f"waived for this run: {verdict.reason}" if waived else verdict.reason
        found.append(Judged(name, verdict.passed, not (verdict.passed or lenient), why))
    return found


def unmet(proposal: Proposal, inputs: Inputs) -> list[str]:
    """Why a proposal may not be set, a line for each check that says so; empty when it may."""
    return [f"{each.name}: {each.reason}" for each in judged(proposal, inputs) if each.blocks]


def waivers(names: Iterable[str]) -> tuple[str, ...]:
    """Checks to be waived, in order. Raises ConfigError for one that cannot be."""
    named = sorted(set(names))
    if unknown := [name for name in named if name not in WAIVABLE]:
        raise ConfigError(f"{', '.join(unknown)} cannot be waived; only {', '.join(WAIVABLE)} can")
    return tuple(named)


def total_variation(one: Mapping[Hotkey, float], other: Mapping[Hotkey, float]) -> float:
    """How much of all goes to others, from 0 to 1."""
    return math.fsum(abs(change) for _, change in _changes(one, other)) / 2


def _changes(now: Mapping[Hotkey, float], before: Mapping[Hotkey, float]) -> list[tuple[Hotkey, float]]:
    return [(hotkey, now.get(hotkey, 0.0) - before.get(hotkey, 0.0)) for hotkey in sorted(now.keys() | before.keys())]


def _moved(now: Mapping[Hotkey, float], before: Mapping[Hotkey, float]) -> str:
    largest = sorted(_changes(now, before), key=lambda each: (-abs(each[1]), each[0]))[:NAMED]
    return ", ".join(f"{hotkey} {before.get(hotkey, 0.0):.1%} → {now.get(hotkey, 0.0):.1%}" for hotkey, _ in largest)


def _padded(proposal: Proposal) -> set[Hotkey]:
    """Whose weight is there for the sake of a number."""
    return {act.hotkey for act in proposal.acts if act.rule == PADDING}


def _paid(proposal: Proposal, inputs: Inputs) -> set[Hotkey]:
    """Who is paid, but for what is burnt."""
    return {h for h, share in proposal.shares.items() if share > 0 and h != inputs.policy.burn_hotkey}


def _named(hotkeys: Iterable[str]) -> str:
    listed = list(hotkeys)
    return ", ".join(listed[:NAMED]) + (f" and {len(listed) - NAMED} more" if len(listed) > NAMED else "")
