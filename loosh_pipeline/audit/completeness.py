"""Whether every challenge that was accepted is in the window, or has a reason not to be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from loosh_pipeline.audit.acceptances import otherwise_committed
from loosh_pipeline.audit.canonical import FIRST_LINK, link_digest
from loosh_pipeline.audit.content import Acceptance, Content
from loosh_pipeline.audit.report import Findings, How
from loosh_pipeline.domain import ChallengeId

PART = "challenges"
SCORED, BEFORE, CANARY = "scored", "before", "canary"
REASON = re.compile(r"canary|waiting|failed(: .+)?", re.DOTALL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ms_of(at: datetime) -> int:
    """Whole milliseconds since 1970, as tables keep times."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def verify_chain(content: Content, findings: Findings) -> None:
    """The links of the chain, from one before the window on, without gap."""
    chain, before = content.acceptances, content.link_before
    if not chain:
        findings.unverifiable(PART, "there is no chain of accepted challenges: nothing shows that none was left out")
        return
    first = chain[0]
    if first.seq < 1 or (first.seq == 1) is not (before == FIRST_LINK):
        findings.mismatch(PART, f"the chain begins with {first.seq}, and the digest before it is {before[:12]}")
    if first.seq != 1 and ms_of(first.received_at) >= ms_of(content.terms.since):
        findings.unverifiable(PART, f"the chain begins with {first.seq}, within the window: others may be left out")
    for place, each in enumerate(chain):
        if each.seq != first.seq + place:
            findings.mismatch(PART, f"after {first.seq + place - 1} the chain goes on with {each.seq}")
            return
        fields = each.challenge_id, each.received_at, each.request_sha256, each.commitment
        linked = link_digest(before, each.seq, *fields)
        if linked != each.digest:
            findings.mismatch(PART, f"link {each.seq} of {each.challenge_id} is {each.digest[:12]}, not {linked[:12]}")
            return
        if said := otherwise_committed(each):
            findings.mismatch(PART, f"link {each.seq} of {each.challenge_id}: {said}")
        before = each.digest
    if len({each.challenge_id for each in chain}) != len(chain):
        findings.mismatch(PART, "a challenge was accepted twice")
    last = chain[-1]
    said = f"{len(chain)} links from {first.seq} on; the last is {last.seq}:{last.digest}, of {last.received_at}"
    findings.done("acceptance chain", How.RECOMPUTED, said)


def verify_complete(content: Content, findings: Findings) -> None:
    """Every accepted challenge of the window's time is a round of it, or has a reason; and every round was accepted."""
    at_ms = dict(zip(content.window.columns.challenges, content.window.at_ms.tolist(), strict=True))
    since, until = ms_of(content.terms.since), ms_of(content.terms.made_at)
    reasons: Counter[str] = Counter()
    waiting: list[Acceptance] = []
    for each in content.acceptances:
        received = ms_of(each.received_at)
        if each.challenge_id in at_ms:
            _verify_round(each, received, at_ms[each.challenge_id], findings)
        elif why := _why_not(each, received, since):
            findings.mismatch(PART, f"{each.challenge_id}, accepted as {each.seq}, {why}")
        elif since <= received <= until:
            reasons[each.became.partition(":")[0]] += 1
            waiting += [each] if each.became == "waiting" else []
    _verify_accepted(content, at_ms, findings)
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "none left out"
    said = f"of those accepted in the window {len(at_ms)} are scored; not counted, by its own word: {told}"
    if waiting:
        oldest = min(waiting, key=lambda each: each.received_at)
        said += f" (oldest waiting: {oldest.challenge_id} of {oldest.received_at:%Y-%m-%d %H:%M} UTC)"
    findings.done("completeness", How.COMPARED, said)


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
