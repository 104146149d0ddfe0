"""Likeness of the words two answers use: what tells a copy from honest agreement."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from loosh_pipeline.scoring.context import ScoringContext
from loosh_pipeline.scoring.function_words import FUNCTION_WORDS
from loosh_pipeline.scoring.profile import RobustProfile


def word_weight(context: ScoringContext, profile: RobustProfile) -> Callable[[str], float]:
    """The weight of a word: ln((1 + R) / (1 + df)) + 1 over the R rounds of a grown context.

    The round being scored counts as one in which its words occurred, so an unseen word weighs as one of a single
    round. In a young context every word weighs 1, but an English function word `young_stop_weight`. Why:
    honest answers to one question (12 models, 30 prompts, 1,980 pairs) have a median wording similarity of .47
    with frequencies, of .57 with all words at 1, and 23 % instead of 8 % of the pairs would be above .65.
    With function words at .25 it is .47 again, 8 % pass, and the 99th percentile is .775 instead of .765. The
    figure is what the formula gives a word of all of 30 rounds beside a word of one: 1 / (1 + ln(31 / 2)) = .27.
    """
    rounds, frequency = context.rounds, context.document_frequency
    if rounds < profile.context_rounds:
        return lambda word: profile.young_stop_weight if word in FUNCTION_WORDS else 1.0
    return lambda word: math.log((1 + rounds) / (1 + max(frequency.get(word, 1), 1))) + 1


def wording_similarity(bags: Sequence[Sequence[str]], weight: Callable[[str], float]) -> NDArray[np.float64]:
    """(n, n) cosines in [0, 1] of (1 + ln tf) · weight word vectors; symmetric, exactly 1 on the diagonal."""
    counts = [Counter(bag) for bag in bags]
    column = {word: k for k, word in enumerate(sorted({word for count in counts for word in count}))}
    rows = [i for i, count in enumerate(counts) for _ in count]
    columns = [column[word] for count in counts for word in count]
    weights = {word: weight(word) for word in column}
    values = [(1 + math.log(tf)) * weights[word] for count in counts for word, tf in count.items()]
    table = sparse.csr_array((values, (rows, columns)), shape=(len(bags), max(len(column), 1)), dtype=float)
    table.sort_indices()
    product = (table @ table.T).toarray()
    length = np.sqrt(product.diagonal())
    scale = np.outer(length, length)
    cosine: NDArray[np.float64] = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    cosine = np.clip((cosine + cosine.T) / 2, 0.0, 1.0)
    np.fill_diagonal(cosine, 1.0)
    return cosine
