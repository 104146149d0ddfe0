"""How a report says what is held against the figures: patterns of lower-case words, by what they say."""

from __future__ import annotations

from loosh_pipeline.domain import Outcome
from loosh_pipeline.narrative.vocabulary import REASONS
from loosh_pipeline.scoring.admission import OFF_TOPIC

_ALIASES = {
    Outcome.TIMEOUT.value: r"timed out|time[- ]?outs?|too late|late",
    OFF_TOPIC: r"off[- ]topic|below (?:its|the) (?:relevance )?(?:gate|threshold)|irrelevant",
    "outlier": "outliers?",
}
REASON_WORDS = {reason: _ALIASES.get(reason, reason.replace("_", "[ -]")) for reason in REASONS}

COUNTED = {
    "unpaid": r"unpaid|not (?:be |been )?(?:paid|rewarded)",
    "paid": r"paid|rewarded",
    "silent": r"not (?:answer|reply|respond)|no (?:answer|reply|response)",
    "answered": r"answered|replied|responded|turnout",
    "asked": r"asked",
    "removed": r"removed|left out|leaves out|excluded",
    "groups": r"groups?(?: of (?:near[- ])?copies)?",
    "copies": r"(?:near[- ])?copies|duplicates",
    **REASON_WORDS,
}
"""What miners or answers that are counted have in common."""

MEASURED = {
    "payout": r"payouts?|paid|payments?|emissions?|rewarded",
    "relevance": "relevance",
    "meaning": "meaning",
    "coverage": "coverage",
    "wording": "wording",
    "gate": "gate|threshold",
    "consensus": "consensus|score",
    "mean": "mean|cosine",
    "spread": "spread",
}
"""What a figure measures."""

CLAIMED = {
    **REASON_WORDS,
    "unpaid": "unpaid",
    "paid": r"paid(?! -?\d)|rewarded|heard|(?:payouts?|payments?|emissions?)(?!\W*(?:of|is|was)?\W*-?\d)",
    "answered": r"answered|replied|responded|(?<=not )(?:answer|reply|respond)|(?<=no )(?:answer|reply|response)",
    "best": r"best|highest|top|winner|won|leads|leader",
    "copies": r"copy|copies|copied|copying|copies|duplicates?|identical",
    "removed": r"removed|removes|left out|leaves? out|leaving out|excluded|excludes",
    "agreed": r"agree|agreed|agrees|agreeing",
}
"""What is said of the miners of a clause. What comes first is read first."""
