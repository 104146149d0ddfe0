"""Whether what a model wrote may be stored: it says nothing but what the figures say, and leads nowhere.

A model that reads texts of strangers may be talked into anything. So its text is held against the figures, not its
manners: what cannot be true of the round is refused, and the composed text stands in its place.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from loosh_pipeline.narrative.facts import RoundFacts
from loosh_pipeline.narrative.known import Known
from loosh_pipeline.narrative.markdown import leads_somewhere
from loosh_pipeline.narrative.prompt import INSTRUCTIONS, Prompt

MAX_CHARS = 2_500
RUN_WORDS = 8
"""So many words in a row are a quotation."""
FEWEST_WORDS = 5
"""A whole answer of so many words or more is one too; of fewer, anybody may come to say the same."""
SHOWN_CHARS = 12

_WORD = re.compile(r"[^\W_]+")
_LIST_NUMBER = re.compile(r"^\s*\d{1,2}[.)](?=\s)", re.MULTILINE)
_NUMBER = re.compile(r"(?:(?<![\w%)])[-−])?\d+(?:\.\d+)*(?:\s?%)?")
_UIDS = re.compile(
    r"(?:\buids?[\s_#:*`(\[-]*|\b(?:miners?|neurons?|nodes?|number)\s+#?|#)"
    r"(\d+(?:(?:[\s,&]|and\b|or\b)+(?:uids?\s*)?\d+\b(?!\.\d))*)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")
_BEST = re.compile(r"\b(?:best|highest|top|winner|won|leader)\b", re.IGNORECASE)
_COPYING = re.compile(r"\b(?:cop(?:y|ies|ied|ying)|duplicat\w*|identical|plagiari\w*)\b", re.IGNORECASE)
_PAID = re.compile(r"\buid\W*(\d+)\W+(?:(?:was|is|got|gets|has\s+been)\W+)?(\w+\W+)?(un)?paid\b", re.IGNORECASE)
_NEGATIONS = ("not", "never", "hardly")


def objection(text: str, facts: RoundFacts, prompt: Prompt) -> str | None:
    """Why a model's text must not be stored, in words of ours; None when it may be."""
    if len(text) > MAX_CHARS:
        return f"it is longer than {MAX_CHARS} characters"
    if leads_somewhere(text):
        return "it holds a link, an address or HTML"
    if prompt.mark in text or _shares_run(text, INSTRUCTIONS, RUN_WORDS):
        return "it repeats its instructions"
    if any(_repeats(text, excerpt) for excerpt in prompt.excerpts):
        return "it repeats what somebody wrote"
    plain = _LIST_NUMBER.sub("", text.replace("**", ""))
    if any(unicodedata.category(char) in ("No", "Nl") for char in plain):
        return "it writes numbers in another way than the figures"
    if _NUMBER.search(plain) is None:
        return "it names no figure of the round"
    known = Known.of(facts)
    return next((said for each in _SENTENCE_END.split(plain) if (said := _contradiction(each, facts, known))), None)


def _contradiction(sentence: str, facts: RoundFacts, known: Known) -> str | None:
    """What in a sentence is not so."""
    uids = [int(uid) for found in _UIDS.finditer(sentence) for uid in re.findall(r"\d+", found[1])]
    if strange := [uid for uid in uids if uid not in known.uids]:
        return f"it names uid {str(strange[0])[:SHOWN_CHARS]}, of which the figures do not speak"
    for number in _NUMBER.findall(_UIDS.sub(" ", sentence)):
        if not known.has(number, uids):
            return f"it names {number.strip()[:SHOWN_CHARS]}, which is no figure of the round or of that miner"
    if uids and _BEST.search(sentence) and (facts.best is None or uids[0] != facts.best.uid):
        return "it calls best who was not"
    if uids and _COPYING.search(sentence) and not _are_copies(set(uids), facts):
        return "it calls copies what are none"
    if any(_misstates_pay(found, facts) for found in _PAID.finditer(sentence)):
        return "it misstates who was paid"
    return None


def _are_copies(uids: set[int], facts: RoundFacts) -> bool:
    """Whether of miners that are named together some copied one another; or one, whom somebody did."""
    return any(len(uids & set(group)) >= min(2, len(uids)) for group in facts.copies)


def _misstates_pay(found: re.Match[str], facts: RoundFacts) -> bool:
    negated = found[3] is not None or (found[2] or "").strip().lower() in _NEGATIONS
    return negated != (int(found[1]) in {miner.uid for miner in facts.unpaid})


def _repeats(text: str, excerpt: str) -> bool:
    words = len(_WORD.findall(excerpt))
    return words >= FEWEST_WORDS and _shares_run(text, excerpt, min(words, RUN_WORDS))


def _shares_run(text: str, other: str, words: int) -> bool:
    """Whether two texts have so many words in a row in common, whatever is written between them."""
    return not set(_runs(text, words)).isdisjoint(_runs(other, words))


def _runs(text: str, words: int) -> Iterator[tuple[str, ...]]:
    found = [word.casefold() for word in _WORD.findall(text)]
    return zip(*(found[start:] for start in range(words)), strict=False)
