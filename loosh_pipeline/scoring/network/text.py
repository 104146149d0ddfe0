"""What the network's scorer reads from a text itself: sentences, parts of a prompt, markers, density, specificity.

Work is linear in the length of a text. A word is a run of characters between white space, punctuation included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

from loosh_pipeline.scoring.network.stop_words import STOP_WORDS

MAX_SENTENCES = 1_000
"""More than fit the longest answer that a challenge can ask for."""
REMEMBERED = 32
"""Texts whose sentences are remembered: a round asks for those of each answer four times over."""
MIN_WORDS = 3
"""Words from which a piece of a text is a sentence, or a part of a prompt."""

NAMES_COUNTED = 3
"""Names after which further ones make an answer no more specific."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_TERMINATORS = re.compile(r"[.!?]+")

_LIST_ITEM = re.compile(r"^[^\S\n]*(?:\d+[.)]|[-•*])\s+", re.MULTILINE)
# the lookbehind keeps a long run of spaces from being tried at each of its positions
_CONJUNCTION = re.compile(r"(?<!\s)\s++(?:and|or)\s++", re.IGNORECASE)
_SUBORDINATOR = (
    "which|who|that|where|when|while|although|because|since|if|unless|whereas|though|even though|after|before|"
    "until|once"
)
_CLAUSE = re.compile(
    rf",\s*(?=(?:{_SUBORDINATOR})\b)"
    r"|\b(?=(?:which|who|that)(?:\s++\w++){0,3}?\s++(?:is|are|was|were|has|have|had)\b)",
    re.IGNORECASE,
)

_MARKERS = (
    "accordingly, as a result, because, consequently, due to, hence, owing to, since, so, therefore, thus",
    "although, but, conversely, despite, however, in contrast, nevertheless, nonetheless, on the other hand, whereas, "
    "while, yet",
    "for example, for instance, in particular, namely, specifically, such as, that is, to illustrate",
    "additionally, also, finally, first, furthermore, in addition, lastly, moreover, next, second, subsequently, then, "
    "third",
)
_MARKER = re.compile(
    rf"\b(?:{'|'.join(marker for group in _MARKERS for marker in group.split(', '))})\b", re.IGNORECASE
)


def sentences(text: str, min_words: int = MIN_WORDS) -> list[str]:
    """Pieces of at least `min_words` words. White space after `.`, `!` or `?` cuts, a line break alone does not.

    Only the first `MAX_SENTENCES`: no miner makes its own evaluation cost what a thousand others' do.
    """
    return list(_sentences(text, min_words))


@lru_cache(maxsize=REMEMBERED)
def _sentences(text: str, min_words: int) -> tuple[str, ...]:
    return tuple(_long_enough(_SENTENCE_END.split(text), min_words)[:MAX_SENTENCES])


def prompt_components(prompt: str) -> list[str]:
    """The parts of a prompt that an answer should cover; the whole prompt when nothing parts it.

    Tried in order: question marks, list items, lines, colons, semicolons, and/or, clauses. The first that gives
    two parts of three words decides. Two questions always decide, so that a prompt of nothing but short ones, like
    a blank one, has no part at all.
    """
    whole = prompt.strip()
    if not whole:
        return []
    questions = [piece.strip() for piece in whole.split("?") if piece.strip()]
    if len(questions) > 1:
        return [f"{piece}?" for piece in _long_enough(questions)]
    for parts in _partitions(whole):
        if len(kept := _long_enough(parts)) > 1:
            return kept
    return [whole]


def marker_count(text: str) -> int:
    """How many words and phrases of `text` mark a cause, a contrast, an elaboration or a step."""
    return sum(1 for _ in _MARKER.finditer(text))


def density(text: str) -> float:
    """Share of words of more than three characters that are not in `STOP_WORDS`; 0 without words."""
    words = text.lower().split()
    return len([1 for word in words if len(word) > 3 and word not in STOP_WORDS]) / len(words) if words else 0.0


def specificity(text: str) -> float:
    """Marks of a concrete answer, 0 to 1: digits, names, long words, a colon or semicolon."""
    words = text.split()
    if not words:
        return 0.0
    pieces: list[str] = _TERMINATORS.split(text)
    upper = (True for piece in pieces for word in piece.split()[1:] if word[0].isupper())
    names = sum(islice(upper, NAMES_COUNTED))
    long = len([1 for word in words if len(word) > 8]) / len(words)
    digit = 0.3 if any(map(str.isdigit, text)) else 0.0
    mark = 0.2 if ":" in text or ";" in text else 0.0
    return min(1.0, digit + min(0.3, 0.1 * names) + min(0.2, 2 * long) + mark)


def structural_coherence(text: str) -> float:
    """Coherence by the lengths of sentences alone, 0 to 1: for a reply of fewer than two, which has no chain."""
    lengths = [len(words) for piece in _TERMINATORS.split(text) if (words := piece.split())]
    if not lengths:
        return 0.0
    mean = sum(lengths) / len(lengths)
    score = 0.5 + (0.3 if 5 <= mean <= 30 else 0.0) - (0.2 if mean < 3 else 0.0) + (0.2 if len(lengths) > 1 else 0.0)
    return min(1.0, max(0.0, score))


def _partitions(whole: str) -> Iterator[list[str]]:
    """`whole` parted by each rule after that of question marks, in their order."""
    yield _LIST_ITEM.split(whole)
    yield whole.split("\n")
    yield whole.split(":")
    yield whole.split(";")
    yield _CONJUNCTION.split(whole)
    yield _CLAUSE.split(whole)


def _long_enough(pieces: Iterable[str], min_words: int = MIN_WORDS) -> list[str]:
    stripped = (piece.strip() for piece in pieces)
    return [piece for piece in stripped if len(piece.split(maxsplit=min_words)) >= min_words]
