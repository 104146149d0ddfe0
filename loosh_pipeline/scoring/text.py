"""Words, sentences and windows of a text: the units that similarity is measured on.

Every function does work linear in the first `MAX_CHARS` characters and returns a bounded list, whatever a miner
sends. Where a text has more units than allowed, evenly spaced ones stand for it, so that no part of an answer
is beyond sight.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

MAX_CHARS = 400_000
"""Characters read of one text: about 100,000 tokens, more than a challenge can ask for."""
WINDOW_WORDS = 90
MAX_CHUNKS = 40
MAX_SENTENCES = 60
MAX_SENTENCE_WORDS = 60
MIN_SENTENCE_WORDS = 3
TEST_MODE_PREFIX = "[TEST MODE]"
"""What a miner begins a reply with that is no answer."""
TEST_MODE = "test_mode"
"""Why such a reply is not scored."""
MAX_MARKS = 30
"""Combining marks kept of one run, as in Unicode's Stream-Safe Text Format; no language needs as many."""

# Scripts written without spaces: there a character is the nearest thing to a word.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)++")
# About one or two tokens of a word-piece vocabulary, so that a window of them fits what a model reads.
_UNIT = re.compile(rf"[{_UNSPACED}]{{1,2}}|(?:(?![{_UNSPACED}])\S){{1,16}}")
_ABBREVIATION = r"(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bMrs\.)(?<!\bSt\.)(?<!\bvs\.)(?<!\be\.g\.)(?<!\bi\.e\.)"
_BREAK = re.compile(
    rf"(?<=[.!?…]){_ABBREVIATION}[\"'”’)\]*]*+\s++(?=[^a-z])"  # a sentence does not go on in lower case
    r"|(?<=[。！？])|[\n\r\u2028\u2029]+"
)
_MARKUP = " \t#>*-–•|`"


def is_test_mode(text: str) -> bool:
    """Whether a reply says of itself that it is no answer."""
    return text.strip().startswith(TEST_MODE_PREFIX)


def words(text: str) -> list[str]:
    """Lower-case words in order; look-alike Unicode forms are one word (NFKC), `_` and digits belong to words."""
    return _WORD.findall(unicodedata.normalize("NFKC", stream_safe(encodable(text))).casefold())


def sentences(text: str) -> list[str]:
    """Sentences, list items and lines of at least three words, in order; at most `MAX_SENTENCES`.

    A longer stretch without an end is cut into windows of `MAX_SENTENCE_WORDS`. A text that has words, but no
    unit of three, is one sentence; a text without words has none.
    """
    readable = encodable(text)
    pieces = (piece.strip(_MARKUP) for piece in _BREAK.split(readable))
    kept = [piece for piece in pieces if len(_WORD.findall(piece)) >= MIN_SENTENCE_WORDS]
    if not kept and _WORD.search(readable):
        kept = [readable]
    return _evenly([part for piece in kept for part in _windows(piece, MAX_SENTENCE_WORDS)], MAX_SENTENCES)


def chunks(text: str, max_words: int = WINDOW_WORDS) -> list[str]:
    """Consecutive windows of near-equal size covering the whole text; at most `MAX_CHUNKS`, empty without words.

    Windows are equal so that the mean of their vectors weighs every part of an answer alike. A word of more
    than 16 characters counts once for every 16, two characters of a script without spaces count as one word.
    """
    if max_words < 1:
        raise ValueError(f"max_words is {max_words}; a window needs at least one word")
    readable = encodable(text)
    if not _WORD.search(readable):
        return []
    return _evenly(_windows(readable, max_words), MAX_CHUNKS)


def encodable(text: str) -> str:
    # a lone surrogate survives JSON, but no tokenizer and no UTF-8 file takes it
    return text[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8")


def stream_safe(text: str) -> str:
    """`text` without the marks of a run beyond `MAX_MARKS`: normalising sorts a run in time quadratic in its length."""
    if text.isascii():
        return text
    kept, run = [], 0
    for char in text:
        run = run + 1 if _is_mark(char) else 0
        if run <= MAX_MARKS:
            kept.append(char)
    return "".join(kept)


def _is_mark(char: str) -> bool:
    # by its decomposition: some characters, as halfwidth voiced marks, combine only after that
    return char >= "\u0300" and unicodedata.combining(unicodedata.normalize("NFKD", char)[0]) != 0


def _windows(text: str, size: int) -> list[str]:
    units = [match.span() for match in _UNIT.finditer(text)]
    count = -(-len(units) // size)
    edges = [len(units) * i // count for i in range(count + 1)] if count else []
    spans = ((units[a][0], units[b - 1][1]) for a, b in pairwise(edges))
    return [" ".join(text[start:end].split()) for start, end in spans]


def _evenly(items: Sequence[str], limit: int) -> list[str]:
    if len(items) <= limit:
        return list(items)
    return [items[i * (len(items) - 1) // (limit - 1)] for i in range(limit)]
