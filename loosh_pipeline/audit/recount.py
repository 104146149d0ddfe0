"""From score rows to weights once more, by the functions that made them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from loosh_pipeline.audit.comparing import same
from loosh_pipeline.audit.completeness import ms_of
from loosh_pipeline.audit.content import Content
from loosh_pipeline.audit.report import Findings, How
from loosh_pipeline.audit.snapshots import LATE, verify_snapshots
from loosh_pipeline.audit.surroundings import surroundings
from loosh_pipeline.chain.records import plan_digest
from loosh_pipeline.chain.weights import plan_weights, quantize
from loosh_pipeline.domain import Emission, Mode, OneSource, RuleAct, WeightPlan
from loosh_pipeline.emissions import emissions_from, since_of
from loosh_pipeline.errors import LooshError
from loosh_pipeline.paid import Payment, pay
from loosh_pipeline.policy.basis import EARNED
from loosh_pipeline.policy.checks import LASTS, unmet
from loosh_pipeline.policy.modes import lookbacks_h
from loosh_pipeline.policy.propose import propose
from loosh_pipeline.presence import coverage_of
from loosh_pipeline.scoring.pairs import one_sources
from loosh_pipeline.scoring.profile import CODE_VERSION, parameters_of, scorer_version
from loosh_pipeline.scoring.profiles import PROFILES, ScoringProfile

LOOKED_WITHIN_MIN = 60.0
"""Minutes from a round to the nearest look at all miners, at most; production looks every two."""
SUM_TOLERANCE = 1e-6
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*(e[-+]?[0-9]+)?")
_PRESSING = (Mode.NORMAL, Mode.DEGRADED, Mode.EMERGENCY)


def verify_terms(content: Content, findings: Findings) -> ScoringProfile | None:
    """By what terms emissions were made, against all else that speaks of them; the profile, where there is one."""
    terms, window = content.terms, content.window
    if terms.profile not in PROFILES:
        findings.unverifiable("terms", f"there is no scoring profile {terms.profile!r} in this release")
        return None
    profile = PROFILES[terms.profile]()
    if terms.parameters != parameters_of(profile):
        changed = {name for name, value in parameters_of(profile).items() if terms.parameters.get(name) != value}
        named = ", ".join(sorted(changed | (terms.parameters.keys() - parameters_of(profile).keys())))
        findings.differs("terms", f"the parameters of {terms.profile!r} are not those of this release: {named}")
    _verify_lookback(content, profile, findings)
    newest = int(content.looks.at_ms.max()) if len(content.looks.at_ms) else None
    stated = None if terms.looks_until is None else ms_of(terms.looks_until)
    if newest != stated:
        findings.mismatch("looks", f"the newest look is of {newest} ms, and the terms say {stated} ms")
    since, until = ms_of(terms.since), ms_of(terms.made_at)
    for name, times in (("rounds", window.at_ms), ("looks", content.looks.at_ms)):
        if len(times) and (times.min() < since or times.max() > until):
            said = f"{name} are of {times.min()} to {times.max()} ms, and those from {since} to {until} ms count"
            findings.mismatch("terms", said)
    rule = f"half-life {terms.rule.half_life_h:g} h, full evidence {terms.rule.full_evidence_rounds:g} rounds"
    said = f"profile {terms.profile}, {terms.lookback_h:g} h, {terms.mode} mode, {rule}"
    findings.done("terms", How.STATED, said)
    return profile


def _verify_lookback(content: Content, profile: ScoringProfile, findings: Findings) -> None:
    terms, policy = content.terms, content.inputs.policy
    if not same(since_of(profile, terms.made_at, terms.lookback_h), terms.since):
        findings.mismatch("terms", f"{terms.lookback_h} h before {terms.made_at} is not {terms.since}")
    if _PRESSING.index(terms.mode) > _PRESSING.index(content.inputs.mode):
        # It only gets more pressing until weights are set, and lets pass more.
        said = f"emissions are of {terms.mode} mode, and the proposal's snapshot says {content.inputs.mode}"
        findings.unverifiable("terms", said)
    allowed = lookbacks_h(terms.mode, policy.lookback_h, policy.emergency_lookback_h)
    if terms.lookback_h not in allowed:
        said = f"a lookback of {terms.lookback_h} h is none of {allowed}, which the policy allows in {terms.mode} mode"
        findings.mismatch("terms", said)


def verify_scorers(content: Content, profile: ScoringProfile, findings: Findings) -> None:
    """What every scorer version of the window stands for."""
    used = Counter(content.window.version)
    if content.scorers.keys() != used.keys():
        odd = ", ".join(sorted(content.scorers.keys() ^ used.keys()))
        findings.mismatch("scorers", f"scorer versions are described that no round has, or not described: {odd}")
    for version, scorer in content.scorers.items():
        if scorer.code_version != CODE_VERSION:
            said = f"{used[version]} rounds are of scoring code {scorer.code_version}; this release has {CODE_VERSION}"
            findings.unverifiable("scorers", said)
        elif scorer.profile != profile.name or scorer.parameters != parameters_of(profile):
            findings.differs("scorers", f"version {version} is no scorer of profile {profile.name!r} of this release")
        elif (known := scorer_version(profile, scorer.model_digest)) != version:
            findings.mismatch("scorers", f"version {version} would be {known} by its parameters, code and model")
    told = ", ".join(f"{version} ({count} rounds)" for version, count in sorted(used.items())) or "none"
    findings.done("scorers", How.RECOMPUTED, told)


def verify_emissions(content: Content, profile: ScoringProfile, findings: Findings) -> None:
    """What everybody earned, from the rows of the window and the looks; and who is taken for one source."""
    window, terms = content.window, content.terms
    try:
        payment = pay(window.columns, window.payout, profile)
    except (LooshError, ValueError) as error:
        findings.mismatch("emissions", f"the window cannot be paid: {error}")
        return
    _verify_left_out(content, payment, findings)
    of_row = window.columns.round
    paid = payment.paid(window.at_ms[of_row], window.answered, window.measured)
    coverage = coverage_of(content.looks, terms.rule.half_life_h)
    about: dict[str, Any] = {"coverage": coverage, "mode": terms.mode, "rule": terms.rule}
    try:
        found = emissions_from(paid, profile, terms.made_at, **about)
    except (ArithmeticError, ValueError) as error:
        findings.mismatch("emissions", f"nothing can be made of what was paid: {error}")
        return
    _verify_earned(content, payment, found, findings)
    _verify_looks(content, findings)
    earning = sum(each.emission > 0 for each in found)
    said = f"{len(found)} miners, of whom {earning} earn, from {len(window.outcome)} asks in {terms.rounds} rounds"
    findings.done("emissions", How.RECOMPUTED, said)


def _verify_looks(content: Content, findings: Findings) -> None:
    """Whether there are looks from about when rounds were; of two looks, who was there in between is not known."""
    looks, terms = np.unique(content.looks.at_ms), content.terms
    ends = np.array([ms_of(terms.since), *looks.tolist(), ms_of(terms.made_at)])
    gap_min = float(np.diff(ends).max()) / 60_000
    told = ""
    if len(at_ms := content.window.at_ms):
        near = np.searchsorted(looks, at_ms)
        around = np.array([-math.inf, *looks.tolist(), math.inf])
        apart_min = np.minimum(at_ms - around[near], around[near + 1] - at_ms) / 60_000
        told = f"; the round farthest from one is {apart_min.max():.0f} min away"
        if far := int((apart_min > LOOKED_WITHIN_MIN).sum()):
            said = f"{far} rounds are more than {LOOKED_WITHIN_MIN:g} min from any look at the miners"
            findings.unverifiable("looks", f"{said}: looks can be missing")
    looked = "1 look" if len(looks) == 1 else f"{len(looks)} looks"
    said = f"{looked} at {len(content.looks.hotkeys)} miners; the longest part of the window without one is"
    findings.done("presence", How.RECOMPUTED, f"{said} {gap_min:.0f} min{told}")


def _verify_left_out(content: Content, payment: Payment, findings: Findings) -> None:
    window = content.window
    challenges = zip(window.columns.challenges, window.left_out.tolist(), strict=True)
    stated = tuple(challenge for challenge, out in challenges if out)
    if odd := sorted(set(stated) ^ set(payment.left_out)):
        findings.mismatch("rounds", f"{odd[0]} is left out, or is not, other than its pairs say ({len(odd)} such)")
    counted = len(window.columns.challenges) - len(payment.left_out)
    if content.terms.rounds != counted:
        findings.mismatch("rounds", f"{counted} rounds count, and the terms say {content.terms.rounds}")
    findings.done("left out", How.RECOMPUTED, f"{len(stated)} rounds for want of pairs")


def _verify_earned(content: Content, payment: Payment, found: Sequence[Emission], findings: Findings) -> None:
    earned, terms = content.inputs.earned, content.terms
    if earned.at is None or not same(earned.at, terms.made_at) or earned.lookback_h != terms.lookback_h:
        said = f"the proposal rests on emissions of {earned.at}, and these terms are of {terms.made_at}"
        findings.mismatch("emissions", said)
    left_out = set(payment.left_out)
    rounds = zip(content.window.columns.challenges, content.window.version, strict=True)
    versions = Counter(version for challenge, version in rounds if challenge not in left_out)
    if (earned.rounds, dict(earned.versions)) != (terms.rounds, dict(versions)):
        said = f"of {earned.rounds} rounds by {dict(earned.versions)}, and the window has {dict(versions)}"
        findings.mismatch("emissions", said)
    _verify_each("emissions", earned.emissions, found, ("hotkey",), findings)
    sources = {} if payment.settled is None else payment.settled.histories.sources()
    _verify_each("one source", sorted(earned.sources, key=_pair), one_sources(sources), ("first", "second"), findings)


def _pair(source: OneSource) -> tuple[str, str]:
    return source.first, source.second


def _verify_each(
    part: str, stated: Sequence[Any], found: Sequence[Any], key: tuple[str, ...], findings: Findings
) -> None:
    """Two lists of records of one kind, by what names a record."""

    def named(records: Sequence[Any]) -> dict[tuple[str, ...], Any]:
        return {tuple(getattr(each, name) for name in key): each for each in records}

    one, other = named(stated), named(found)
    if len(one) != len(stated):
        findings.mismatch(part, "somebody is named twice")
    for who in sorted(one.keys() ^ other.keys()):
        findings.differs(part, f"{' and '.join(who)} is stated, and is not found, or the other way round")
    for who in sorted(one.keys() & other.keys()):
        for field in fields(one[who]):
            before, after = getattr(one[who], field.name), getattr(other[who], field.name)
            if not same(before, after):
                findings.differs(part, f"{field.name} of {' and '.join(who)} is {before!r}, and comes to {after!r}")


def verify_proposal(content: Content, findings: Findings) -> None:
    """What was proposed, from what was earned and the policy."""
    inputs, stated, epoch = content.inputs, content.proposal, content.epoch
    if (inputs.own, inputs.profile) != (epoch.validator, content.terms.profile):
        said = f"it is of {inputs.own} by profile {inputs.profile!r}, not of {epoch.validator}"
        findings.mismatch("proposal", said)
    if stated.basis not in EARNED:
        findings.unverifiable("proposal", f"its basis is {stated.basis!r}: no round decided these weights")
    for what, at in (("proposal", stated.made_at), ("emissions", content.terms.made_at)):
        if not -LATE <= epoch.submitted_at - at <= LASTS + LATE:
            findings.mismatch("proposal", f"the {what} of {at} cannot be that of weights set at {epoch.submitted_at}")
    try:
        found = propose(inputs)
    except (LooshError, ArithmeticError, ValueError, KeyError, StopIteration) as error:
        findings.differs("proposal", f"nothing can be proposed: {type(error).__name__} {error}")
        return
    for name in ("made_at", "block", "mode", "profile", "basis", "rounds", "overrides"):
        if not same(getattr(stated, name), getattr(found, name)):
            said = f"{name} is {getattr(stated, name)!r}, and comes to {getattr(found, name)!r}"
            findings.differs("proposal", said)
    _verify_shares(stated.shares, found.shares, findings)
    acts = [[(each.rule, each.hotkey, each.before, each.after) for each in made.acts] for made in (stated, found)]
    if len(acts[0]) != len(acts[1]):
        findings.differs("proposal", f"{len(acts[0])} acts of the policy are stated, and {len(acts[1])} found")
    for one, other in zip(*acts, strict=False):
        if not all(same(before, after) for before, after in zip(one, other, strict=True)):
            findings.differs("proposal", f"an act of the policy is {one}, and comes to {other}")
    _verify_reasons(stated.acts, found.acts, findings)
    for said in unmet(found, inputs):
        findings.unverifiable("checks", f"by its own checks it was not to be set: {said}")
    said = f"{sum(share > 0 for share in found.shares.values())} paid, {len(found.acts)} acts of the policy"
    findings.done("proposal", How.RECOMPUTED, f"{said}, basis {found.basis}")
    for name, said in surroundings(content):
        findings.done(name, How.STATED, said)


def _verify_reasons(stated: Sequence[RuleAct], found: Sequence[RuleAct], findings: Findings) -> None:
    """What rules say of their acts, numbers aside, which are rounded. A release may word them otherwise."""
    others = [
        (one, other)
        for one, other in zip(stated, found, strict=False)
        if _NUMBER.sub("#", one.reason) != _NUMBER.sub("#", other.reason)
    ]
    if others and findings.other_release:
        said = f"{len(others)} are worded otherwise than this release would, and are its word"
        findings.done("reasons of acts", How.STATED, said)
    elif others:
        one, other = others[0]
        findings.mismatch("proposal", f"of {one.hotkey} {one.rule} says {one.reason!r}, and here {other.reason!r}")


def _verify_shares(stated: Mapping[Any, float], found: Mapping[Any, float], findings: Findings) -> None:
    for hotkey in sorted(stated.keys() | found.keys()):
        before, after = stated.get(hotkey), found.get(hotkey)
        if before is None or after is None or not same(before, after):
            findings.differs("proposal", f"the share of {hotkey} is {before!r}, and comes to {after!r}")


def verify_plan(content: Content, findings: Findings) -> None:
    """The weights by uid, from what was proposed and the snapshot; as the chain holds them."""
    stated, subnet, epoch = content.plan, content.subnet, content.epoch
    verify_snapshots(content, findings)
    if (digest := _digest(stated)) != epoch.digest:
        findings.mismatch("weights", f"the digest of the plan is {digest[:12]}…, and {epoch.digest[:12]}… was set")
    try:
        found = plan_weights(content.proposal.shares, subnet, epoch.validator)
    except LooshError as error:
        findings.differs("weights", f"no weights can be planned of the proposal: {error}")
        return
    for name in ("netuid", "block", "version_key", "hotkeys", "dropped"):
        if getattr(stated, name) != getattr(found, name):
            findings.differs("weights", f"{name} of the plan is not what the proposal and the snapshot say")
    total = math.fsum(stated.weights.values())
    if not abs(total - math.fsum(found.weights.values())) <= SUM_TOLERANCE:
        findings.differs("weights", f"they sum to {total!r}, and are parts of one whole")
    one, other = quantize(stated.weights), quantize(found.weights)
    for uid in sorted(one.keys() | other.keys()):
        if abs(one.get(uid, 0) - other.get(uid, 0)) > 1:
            who = found.hotkeys.get(uid, stated.hotkeys.get(uid, ""))
            said = f"uid {uid} ({who}) has {one.get(uid, 0)} of 65535, and comes to {other.get(uid, 0)}"
            findings.differs("weights", said)
    said = f"{len(other)} weights, digest {epoch.digest}"
    findings.done("weights", How.RECOMPUTED, said)


def _digest(plan: WeightPlan) -> str:
    """Empty for weights that are no numbers."""
    try:
        return plan_digest(plan)
    except (ArithmeticError, ValueError):
        return ""
