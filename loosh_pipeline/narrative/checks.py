"""Whether what a model wrote may be stored: it says nothing but what the figures say, and leads nowhere.

A model that reads texts of strangers may be talked into anything. So its text is held against what may be said, not
against what must not: its characters against an alphabet, its words against a vocabulary, its numbers and claims
against the figures. Where any is not known, the composed text stands in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from loosh_pipeline.narrative.alphabet import is_plain
from loosh_pipeline.narrative.claims import false_claim
from loosh_pipeline.narrative.facts import RoundFacts
from loosh_pipeline.narrative.known import Known
from loosh_pipeline.narrative.numbers import NUMBER, check_numbers
from loosh_pipeline.narrative.prompt import INSTRUCTIONS, Prompt
from loosh_pipeline.narrative.reading import Sentence, sentences
from loosh_pipeline.narrative.vocabulary import WORDS
from loosh_pipeline.narrative.words import REASON_WORDS

MAX_CHARS = 2_500
RUN_OF_INSTRUCTIONS = 8
RUN_WORDS = 5
RUN_CHARS = 20
"""So many words in a row, or letters whatever is between them, are a quotation."""
SHOWN_CHARS = 12

_PHRASES = re.compile(
    r"\b(?:one another|each other|with one vote (?:a|per) group|(?:which )?changes no robust (?:pay|payout))\b"
)
"""What is said with words that by themselves would count, rank or deny."""
_REASON = re.compile(rf"\b(?:{'|'.join(sorted(REASON_WORDS.values(), key=len, reverse=True))})\b")
_WORD = re.compile(r"[^\W_]+")
_NOT_OF_A_WORD = re.compile(r"[\W_]+")


def objection(text: str, facts: RoundFacts, prompt: Prompt) -> str | None:
    """Why a model's text, in plain ASCII, must not be stored, in words of ours; None when it may be."""
    if len(text) > MAX_CHARS:
        return f"it is longer than {MAX_CHARS} characters"
    if not is_plain(text):
        return "it holds other characters than plain words and figures have, or a link or an address"
    if prompt.mark.lower() in text.lower() or _shares_words(text, INSTRUCTIONS, RUN_OF_INSTRUCTIONS):
        return "it repeats its instructions"
    if any(_repeats(text, excerpt) for excerpt in prompt.excerpts):
        return "it repeats what somebody wrote"
    plain = text.replace("**", "").lower().replace("n't", " not").replace("'s", "")
    plain = _PHRASES.sub("", plain)
    words = re.findall(r"[a-z]+", _REASON.sub(" ", plain))
    if strange := next((word for word in words if word not in WORDS), None):
        return f"it holds the word {strange[:SHOWN_CHARS]!r}, which is none of a report"
    if NUMBER.search(plain) is None:
        return "it names no figure of the round"
    known = Known.of(facts)
    return next((said for each in sentences(plain) if (said := _contradiction(each, known))), None)


def _contradiction(sentence: Sentence, known: Known) -> str | None:
    """What in a sentence is not so."""
    if strange := [uid for uid in sentence.uids if uid not in known.uids]:
        return f"it names uid {str(strange[0])[:SHOWN_CHARS]}, of which the figures do not speak"
    checked = check_numbers(sentence, known)
    if checked.wrong is not None:
        return f"it names {checked.wrong[:SHOWN_CHARS]}, which is no figure of the round or of that miner"
    return false_claim(sentence, checked.left, known)


def _repeats(text: str, excerpt: str) -> bool:
    run = _letters(excerpt)
    held = _letters(text)
    shared = any(run[at : at + RUN_CHARS] in held for at in range(len(run) - RUN_CHARS + 1))
    return shared or _shares_words(text, excerpt, RUN_WORDS)


def _letters(text: str) -> str:
    return _NOT_OF_A_WORD.sub("", text.casefold())


def _shares_words(text: str, other: str, words: int) -> bool:
    """Whether two texts have so many words in a row in common, whatever is written between them."""
    return not set(_runs(text, words)).isdisjoint(_runs(other, words))


def _runs(text: str, words: int) -> Iterator[tuple[str, ...]]:
    found = [word.casefold() for word in _WORD.findall(text)]
    return zip(*(found[start:] for start in range(words)), strict=False)
