"""What a proposal hangs on that follows from no round and no look, a part for each: nobody can recompute it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

from loosh_pipeline.audit.content import Content
from loosh_pipeline.emissions import EmissionRule
from loosh_pipeline.policy.inputs import Policy

NAMED = 3
BURN = ("burn_hotkey", "burn_share")


def surroundings(content: Content) -> Iterator[tuple[str, str]]:
    """Names of parts and what they say; the burn is always told, and every setting that is not as shipped."""
    policy, terms = content.inputs.policy, content.terms
    yield "policy: burn", _burnt(policy)
    others = [each for each in _not_as_shipped(policy) if each[0] not in BURN]
    for name, value, shipped in others:
        yield f"policy: {name}", f"{value}, and {shipped} as shipped"
    if not others:
        yield "policy", "all else as shipped"
    for name, value, shipped in _not_as_shipped(terms.rule):
        yield f"emissions: {name}", f"{value}, and {shipped} as shipped"
    if content.inputs.waived:
        yield "checks waived", ", ".join(sorted(content.inputs.waived))
    yield "mode", _mode(content)
    yield "Challenge API", _viewed(content)
    yield "last weights", _last(content)
    yield "who is known", _known(content)
    if content.inputs.imported is not None or content.inputs.presence:
        yield "taken over", _imported(content)
    models = sorted({each.model_digest for each in content.scorers.values()})
    yield "model", ", ".join(models[:NAMED]) or "none"


def _not_as_shipped(given: Policy | EmissionRule) -> Iterator[tuple[str, Any, Any]]:
    for each in fields(given):
        value = getattr(given, each.name)
        if each.default is not MISSING and value != each.default:
            yield each.name, value, each.default


def _burnt(policy: Policy) -> str:
    if policy.burn_hotkey is None and not policy.burn_share:
        return "nothing"
    return f"{policy.burn_share:.4%} of all goes to {policy.burn_hotkey}"


def _mode(content: Content) -> str:
    inputs, own = content.inputs, content.inputs.subnet.by_hotkey().get(content.inputs.own)
    since = "is not registered" if own is None else f"set weights last at block {own.last_update}"
    cut_off = f"cut off after {inputs.subnet.activity_cutoff_blocks} blocks"
    said = f"{content.terms.mode} for emissions, {inputs.mode} for the proposal"
    return f"{said}: by the snapshot of block {inputs.subnet.block} the validator {since}, {cut_off}"


def _viewed(content: Content) -> str:
    view = content.inputs.view
    if view is None:
        return "nothing was heard of it"
    registered = content.inputs.subnet.by_hotkey()
    listed = sorted(view.validators & registered.keys() - {content.inputs.own})
    named = f" ({', '.join(listed[:NAMED])}{' …' if len(listed) > NAMED else ''})" if listed else ""
    said = f"of {view.taken_at:%Y-%m-%d %H:%M} UTC: {len(listed)} others listed as validators{named}"
    return f"{said}, {len(view.sybil_scores)} sybil scores, {len(view.priority_weights)} priorities"


def _last(content: Content) -> str:
    last = content.inputs.last
    if last is None:
        return "none are known, so the check of how much changes did not act"
    of = "unknown" if last.rounds is None else str(last.rounds)
    said = f"of {last.set_at:%Y-%m-%d %H:%M} UTC for {len(last.shares)} hotkeys, basis {last.basis}, rounds {of}"
    return f"{said}; the check of how much changes holds the new ones against them"


def _known(content: Content) -> str:
    inputs = content.inputs
    return f"{len(inputs.known)} hotkeys that ever answered, {len(inputs.answered_at)} addresses of who answered last"


def _imported(content: Content) -> str:
    found = content.inputs.imported
    seen = f"presence of {len(content.inputs.presence)} hotkeys"
    if found is None:
        return seen
    return (
        f"{found.evaluations} evaluations of {found.since} to {found.until} for {len(found.averages)} hotkeys, {seen}"
    )
