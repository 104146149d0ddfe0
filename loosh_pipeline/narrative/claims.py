"""Whether what a sentence says of miners is so of every miner that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from loosh_pipeline.narrative.known import Known
from loosh_pipeline.narrative.reading import Sentence, blank
from loosh_pipeline.narrative.words import CLAIMED

_NOT = r"(?:not|never|no|neither|nor|nobody|none|without)"
_FILLING = r"(?: (?:be|been|is|was|were|are|the|a|an|as|of|them))*"
_CLAIM = re.compile(
    rf"(?P<denied>\b(?:{_NOT}|no (?:answers?|miners?|copies))\b{_FILLING} )?"
    rf"(?<!\w)(?:{'|'.join(f'(?P<{key}>{words})' for key, words in CLAIMED.items())})\b"
)
_DENIAL = re.compile(rf"\b{_NOT}\b")
_REASONS_THAT_DENY = re.compile(r"\bno[ -]agreement\b|\bnot[ -](?:embedded|finite)\b")
_REACHED = re.compile(r"\bconsensus\b.*?\b(not )?reached\b(?! -?\d)|\b(no) consensus\b")
_JOINT = re.compile(r"(?:,|\b(?:and|but|while|whereas)) *$")
_VERB = re.compile(
    r"(?: answer| payout)? *"
    r"(?:was|were|is|are|did|had|has|have|timed|answered|replied|responded|leads|won|agreed?|agrees) "
)
_ENCLOSED = re.compile(r" ?\([^()]*\)")
_MEASURE = r"(?:it|(?:the )?network(?: own)?(?: measure)?|(?:the )?measure)"
_MEASURE_LEAVES = re.compile(rf"(?:,|\b(?:and|but|while)) (?={_MEASURE} (?:leaves|left|removed|removes) )")
_OF_A_MEASURE = re.compile(
    r"\b(?:best|highest|top|leads|won)(?: [a-z]+){0,3} "
    r"(?:relevance|meaning|coverage|wording|agreement|consensus|spread|score)\b"
)
_LOOSE = re.compile(
    r"\bindependent\b(?! peers?\b| answers?\b)|(?<!~ in )\ball\b(?!:? ~)|"
    r"\baverage\b|"
    r"(?<!\ba )(?<!\bno )(?<!\bnot )(?<!near[ -])\bcopy\b|"
    r"(?:~|\b(?:paid|rewarded|heard|answered|replied|responded)) (?:the )?(?:uids?|miners?|neurons?|nodes?) \(?\d"
)
"""What says too much, unless more is said; what tells a reader to copy; and miners that pay or hear miners."""
_IS_COUNTED = re.compile(r"(?: (?:miners?|answers?))?(?: (?:is|are|was|were))?:? ?~")
_SAYS_BEST, _SAYS_PAID = "it calls best who was not", "it misstates who was paid"
_SAYS_CONSENSUS = "it misstates whether consensus was reached"


@dataclass(frozen=True, slots=True)
class _Clause:
    text: str
    groups: tuple[tuple[int, ...], ...]

    @property
    def uids(self) -> set[int]:
        return {uid for group in self.groups for uid in group}


def false_claim(sentence: Sentence, text: str, known: Known) -> str | None:
    """What a sentence says that is not so, or cannot be checked. `text`: the sentence with `~` for what it counts."""
    if (loose := _OF_A_MEASURE.search(sentence.text) or _LOOSE.search(text)) is not None:
        return f"it says what cannot be checked ({loose[0]!r})"
    if sentence.mentions and not _CLAIM.search(text) and not re.search(r"\d", _without_mentions(sentence, text)):
        return "it names a miner and says nothing of it"
    if (reached := _REACHED.search(text)) is not None:
        if _is_consensus(known) == bool(reached[1] or reached[2]):
            return _SAYS_CONSENSUS
        text = blank(text, *reached.span())
    return next((said for clause in _clauses(sentence, text) if (said := _of_clause(clause, known)) is not None), None)


def _of_clause(clause: _Clause, known: Known) -> str | None:
    claims = list(_CLAIM.finditer(clause.text))
    denials = len(_DENIAL.findall(_REASONS_THAT_DENY.sub("", clause.text)))
    if denials > sum(claim["denied"] is not None for claim in claims):
        return "it denies what cannot be checked"
    return next((said for claim in claims if (said := _objection(claim, clause, known)) is not None), None)


def _is_consensus(known: Known) -> bool:
    return known.facts.consensus is not None and known.facts.consensus.consensus_reached


def _without_mentions(sentence: Sentence, text: str) -> str:
    for mention in sentence.mentions:
        text = blank(text, mention.start, mention.end)
    return text


def _clauses(sentence: Sentence, text: str) -> Iterator[_Clause]:
    """What is said of whom: in brackets of those just named, after a new subject with a verb of that one, else of all.

    What leads up to a colon is said of every part.
    """
    for mention in sentence.mentions:
        if enclosed := _ENCLOSED.match(text, mention.end):
            yield _Clause(enclosed[0], (mention.uids,))
            text = blank(text, *enclosed.span())
    starts = [m.start for m in sentence.mentions[1:] if _JOINT.search(text[: m.start]) and _VERB.match(text, m.end)]
    starts = sorted([*starts, *(found.end() for found in _MEASURE_LEAVES.finditer(text))])
    lead = text[: sentence.mentions[0].start] if sentence.mentions else ""
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        groups = tuple(mention.uids for mention in sentence.mentions if start <= mention.start < end)
        said = f"{lead if start and ':' in lead else ''}{text[start:end]}"
        yield _Clause(said, groups or ((sentence.subject,) if sentence.subject else ()))


def _objection(claim: re.Match[str], clause: _Clause, known: Known) -> str | None:
    said = next(key for key in CLAIMED if claim[key] is not None)
    denied = claim["denied"] is not None
    if not clause.groups:
        return _of_nobody_named(said, claim, known)
    if re.search(r"\b(?:nobody|none|everyone)\b", clause.text):
        return "it says of all what it says of some"
    if said == "copies" and not denied:
        return None if _copy(clause, known) else "it calls copies what are none"
    if all(_is_so(said, uid, known) != denied for uid in clause.uids):
        return None
    told = {"best": _SAYS_BEST, "paid": _SAYS_PAID, "unpaid": _SAYS_PAID}
    return told.get(said, f"it misstates who {claim[0]!r} is true of")


def _copy(clause: _Clause, known: Known) -> bool:
    """Whether all that are named copied one another, or each that is named together did."""
    together = [set(group) for group in clause.groups]
    return known.are_copies(clause.uids) or all(len(group) > 1 and known.are_copies(group) for group in together)


def _of_nobody_named(said: str, claim: re.Match[str], known: Known) -> str | None:
    """Without a name a claim is of the best, of the round, of nobody, of everyone, or of those that are counted."""
    facts, denied, before = known.facts, claim["denied"] or "", claim.string[: claim.start()]
    if said == "best":
        return _SAYS_BEST if denied or facts.best is None else None
    if said == "agreed":
        return _SAYS_CONSENSUS if _is_consensus(known) == bool(denied) else None
    if denied.startswith(("no ", "nobody", "none")):
        so = not any(known.counts.get(said, ()))
    elif re.search(r"\beveryone\b", before):
        so = not denied and {"paid": not facts.unpaid, "answered": facts.asked == facts.answered}.get(said, False)
    else:
        of_best = said == "paid" and facts.best is not None and "best" in before
        so = not denied and (of_best or _IS_COUNTED.match(claim.string, claim.end()) is not None)
    return None if so else f"it does not say, or misstates, who {claim[0]!r} is true of"


def _is_so(said: str, uid: int, known: Known) -> bool:
    if said == "best":
        return known.facts.best is not None and uid == known.facts.best.uid
    if said == "copies":
        return known.are_copies({uid})
    held = {
        "paid": uid not in known.unpaid,
        "agreed": uid not in known.unpaid,
        "unpaid": uid in known.unpaid,
        "answered": uid not in known.silent,
        "removed": uid in known.removed,
    }
    return held[said] if said in held else said in known.reasons[uid]
