"""Whether every challenge that was accepted is in the window, or has a reason not to be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from loosh_pipeline.audit.acceptances import otherwise_committed
from loosh_pipeline.audit.canonical import FIRST_LINK, link_digest
from loosh_pipeline.audit.content import Acceptance, Content
from loosh_pipeline.audit.report import Findings, How
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.paid import MAX_LEFT_OUT

PART = "challenges"
SCORED, BEFORE, CANARY, WAITING = "scored", "before", "canary", "waiting"
CLOCKS_APART = timedelta(minutes=5)
"""How far the times of links may go back along the chain, as several ingresses accept by clocks of their own."""
UNDER_WAY = timedelta(minutes=10)
"""A challenge that came so shortly before may still be with miners, or wait for a burst to be done."""
ROUND_LASTS = timedelta(hours=1)
"""The longest that a challenge waits for its round; one that waits longer counts as failed."""
REASON = re.compile(r"canary|waiting|failed(: .+)?", re.DOTALL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ms_of(at: datetime) -> int:
    """Whole milliseconds since 1970, as tables keep times."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def verify_chain(content: Content, findings: Findings) -> None:
    """The links of the chain, from one before the window on, without gap."""
    chain, before, found = content.acceptances, content.link_before, findings.found
    if not chain:
        findings.unverifiable(PART, "there is no chain of accepted challenges: nothing shows that none was left out")
        return
    first = chain[0]
    if first.seq < 1 or (first.seq == 1) is not (before == FIRST_LINK):
        findings.mismatch(PART, f"the chain begins with {first.seq}, and the digest before it is {before[:12]}…")
    if first.seq != 1 and ms_of(first.received_at) >= ms_of(content.terms.since):
        findings.unverifiable(PART, f"the chain begins with {first.seq}, within the window: others may be left out")
    for place, each in enumerate(chain):
        if each.seq != first.seq + place:
            findings.mismatch(PART, f"after {first.seq + place - 1} the chain goes on with {each.seq}")
            return
        fields = each.challenge_id, each.received_at, each.request_sha256, each.commitment
        linked = link_digest(before, each.seq, *fields)
        if linked != each.digest:
            said = f"is {each.digest[:12]}…, not {linked[:12]}…"
            findings.mismatch(PART, f"link {each.seq} of {each.challenge_id} {said}")
            return
        if said := otherwise_committed(each):
            findings.mismatch(PART, f"link {each.seq} of {each.challenge_id}: {said}")
        before = each.digest
    if len({each.challenge_id for each in chain}) != len(chain):
        findings.mismatch(PART, "a challenge was accepted twice")
    if findings.found > found:
        return
    last = chain[-1]
    said = f"{len(chain)} links from {first.seq} on; the last is {last.seq}:{last.digest}, of {last.received_at}"
    findings.done("acceptance chain", How.RECOMPUTED, said)


def verify_times(content: Content, sealed_at: datetime, findings: Findings) -> None:
    """Along the chain times go on, as far as clocks agree, and end before the seal: none is moved out of the window."""
    newest = content.acceptances[0].received_at if content.acceptances else sealed_at
    for each in content.acceptances:
        if each.received_at < newest - CLOCKS_APART:
            said = f"link {each.seq} is of {each.received_at}, and one before it of {newest}"
            findings.mismatch(PART, f"{said}: clocks do not differ by more than {CLOCKS_APART}")
            return
        newest = max(newest, each.received_at)
    if newest > sealed_at + CLOCKS_APART:
        findings.mismatch(PART, f"a link is of {newest}, and the seal that it is in of {sealed_at}")


def starts_within(content: Content) -> bool:
    """Whether the chain begins with its very first link, and that within the window."""
    first = content.acceptances[0] if content.acceptances else None
    return first is not None and first.seq == 1 and ms_of(first.received_at) >= ms_of(content.terms.since)


def verify_complete(content: Content, compared: bool, findings: Findings) -> None:
    """Every accepted challenge of the window is a round of it, or has a reason; and every round was accepted.

    Of the window is what lies between its first and its last link, whatever its time. `compared`: links were given.
    """
    at_ms = dict(zip(content.window.columns.challenges, content.window.at_ms.tolist(), strict=True))
    since = ms_of(content.terms.since)
    for each in content.acceptances:
        received = ms_of(each.received_at)
        if each.challenge_id in at_ms:
            _verify_round(each, received, at_ms[each.challenge_id], findings)
        elif why := _why_not(each, received, since):
            findings.mismatch(PART, f"{each.challenge_id}, accepted as {each.seq}, {why}")
    _verify_accepted(content, at_ms, findings)
    of_window = _of_window(content)
    others = [each for each in of_window if each.challenge_id not in at_ms]
    _verify_few(content, len(of_window), others, findings)
    reasons = Counter(each.became.partition(":")[0] for each in others)
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "none left out"
    said = f"of {len(of_window)} accepted in the window {len(at_ms)} are scored; not counted, by its own word: {told}"
    if waiting := [each for each in others if each.became == WAITING]:
        oldest = min(waiting, key=lambda each: each.received_at)
        said += f" (oldest waiting: {oldest.challenge_id} of {oldest.received_at:%Y-%m-%d %H:%M} UTC)"
    if starts_within(content):
        said += "; the chain starts with link 1 within the window"
    findings.done("completeness", How.COMPARED if compared else How.STATED, said)


def _of_window(content: Content) -> Sequence[Acceptance]:
    """The links from the first to the last that came in the window's time."""
    since, until = ms_of(content.terms.since), ms_of(content.terms.made_at)
    places = [i for i, each in enumerate(content.acceptances) if since <= ms_of(each.received_at) <= until]
    return content.acceptances[places[0] : places[-1] + 1] if places else ()


def _verify_few(content: Content, accepted: int, others: Sequence[Acceptance], findings: Findings) -> None:
    """Of what was accepted in the window so little is not paid that nobody could choose who is.

    What came just before weights were made is in the next window, scored or counted here: it is shown, and no more.
    """
    made_at, counts = content.terms.made_at, Counter[str]()
    for each in others:
        counts[_counted_as(each, made_at)] += 1
    canaries, left_out = counts.pop(CANARY, 0), int(content.window.left_out.sum())
    young = counts.pop("under way", 0)
    if sum(counts.values()) + left_out > max(1.0, MAX_LEFT_OUT * (accepted - canaries)):
        named = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        said = f"of {accepted - canaries} accepted, {named or 'none failed'}, {left_out} left out, {young} under way"
        findings.unverifiable(PART, f"{said}: by more than {MAX_LEFT_OUT:.0%} it could be chosen who is paid")


def _counted_as(each: Acceptance, made_at: datetime) -> str:
    if each.became == CANARY:
        return CANARY
    if each.became != WAITING:
        return "failed"
    if made_at - each.received_at > ROUND_LASTS:
        return f"waiting for more than {ROUND_LASTS}, as good as failed"
    return "under way" if made_at - each.received_at <= UNDER_WAY else "waiting"


def _verify_round(accepted: Acceptance, received_ms: int, at_ms: int, findings: Findings) -> None:
    if accepted.known:
        findings.mismatch(PART, f"{accepted.challenge_id} is a round of the window, and a canary")
    if accepted.became != SCORED:
        said = f"{accepted.challenge_id} is a round of the window, and is said to be {accepted.became!r}"
        findings.mismatch(PART, said)
    if received_ms != at_ms:
        said = f"{accepted.challenge_id} was accepted at {received_ms} ms, and its round is of {at_ms} ms"
        findings.mismatch(PART, said)


def _why_not(accepted: Acceptance, received_ms: int, since_ms: int) -> str:
    """What is wrong with an accepted challenge that is no round of the window; empty for nothing."""
    if accepted.became == CANARY and not accepted.known:
        return "is said to be a canary, and was committed to be a challenge that was pushed"
    if received_ms < since_ms:
        return "" if accepted.became in ("", SCORED, BEFORE) or REASON.fullmatch(accepted.became) else "has no reason"
    if accepted.known and accepted.became != CANARY:
        return f"is a canary, and is said to be {accepted.became!r}"
    if accepted.became == SCORED:
        return "is said to be scored, and is no round of the window"
    if not REASON.fullmatch(accepted.became):
        return f"is no round of the window, and the reason is {accepted.became!r}"
    return ""


def _verify_accepted(content: Content, at_ms: Mapping[ChallengeId, int], findings: Findings) -> None:
    """No round was made up."""
    accepted = {each.challenge_id for each in content.acceptances}
    if not accepted:
        return
    first = content.acceptances[0]
    starts = ms_of(first.received_at) if first.seq == 1 else -1
    for challenge_id, at in at_ms.items():
        if challenge_id in accepted:
            continue
        if at < starts:
            findings.unverifiable(PART, f"{challenge_id} came before the chain of acceptances began")
        else:
            findings.mismatch(PART, f"{challenge_id} is a round of the window, and was never accepted")
