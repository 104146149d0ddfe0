"""The figures of all answers of a round as tables: what each column is called, means, and is read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loosh_pipeline.scoring.explanation import MEANS, REMOVED
from loosh_pipeline.scoring.result import Measure, Score


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `says` what it means in a line, `of` reads its cell, None for what was not measured. `words`: its cells
    are words.
    """

    head: str
    says: str
    of: Callable[[Any], float | str | None]
    words: bool = False
    digits: int = 3


def _field(name: str) -> Callable[[Any], Any]:
    return lambda row: getattr(row, name)


def _seconds(row: Score) -> float | None:
    return None if row.elapsed_ms is None else row.elapsed_ms / 1000


def _consensus(row: Measure) -> str:
    return "in" if row.in_consensus else f"out: {REMOVED.get(row.removed_by, 'it was the only answer')}"


SIGNALS: tuple[Column, ...] = (
    Column(
        "relevance",
        "likeness to the question; below the gate an answer is off topic, and unpaid",
        _field("relevance"),
    ),
    Column("meaning", MEANS["meaning"], _field("meaning")),
    Column("coverage", MEANS["coverage"], _field("coverage")),
    Column("wording", MEANS["wording"], _field("wording")),
    Column("baseline", "likeness to answers of other questions, which takes a part off agreement", _field("baseline")),
    Column("agreement", "what the peers' votes make of these, summed up", _field("agreement")),
    Column("votes heard", "sum of the votes of independent peers that it was compared with", _field("votes")),
    Column("own vote", "weight of its own vote on the others; copies split one", _field("vote_weight")),
    Column("share", "part of one pay left after sharing it with copies: 1 for an independent answer", _field("share")),
    Column("speed", "factor for its time beside the median: above 1 is faster", _field("speed_factor")),
    Column("score", "agreement raised to a power, times speed", _field("score"), digits=5),
    Column("words", "words of the answer", _field("words")),
    Column("seconds", "from sending the challenge to the end of the answer", _seconds),
)
"""By the profile that settles and pays by votes."""
NETWORK: tuple[Column, ...] = (
    Column("quality", "the six signals shaped and summed, 0 below the method's gate of relevance", _field("quality")),
    Column("relevance", "likeness to the question", _field("signal_relevance")),
    Column("coherence", "how well its sentences follow one another", _field("signal_coherence")),
    Column("coverage", "how many parts of the question it takes up", _field("signal_coverage")),
    Column("complexity", "how many steps its sentences take, and how little they repeat", _field("signal_complexity")),
    Column("density", "share of its words that carry meaning", _field("signal_density")),
    Column("specificity", "marks of a concrete answer: digits, names, long words", _field("signal_specificity")),
    Column("composite", "by which the best in consensus are found", _field("composite")),
    Column("would pay", "what the method pays, or would pay if it paid here", _field("emission")),
    Column("consensus", "whether it is in consensus, or which filter took it out", _consensus, words=True),
)
"""By the network's existing method, which measures whichever profile pays."""
