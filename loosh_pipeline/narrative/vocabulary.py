"""The words of which a model's narrative may consist.

Whatever a model was talked into, it cannot say what it has no words for. A word belongs here when a report of a round
needs it and it either claims nothing or is held against the figures (`claims`, `numbers`). No judgement, no advice, no
comparison, no number and no scale is a word of a report; nor is anything that could be asked of a reader.
"""

from __future__ import annotations

from loosh_pipeline.domain import Outcome
from loosh_pipeline.scoring import admission
from loosh_pipeline.scoring.network.removals import REMOVALS

REASONS = tuple(
    dict.fromkeys(
        (
            *(outcome.value for outcome in Outcome if outcome is not Outcome.ANSWERED),
            *(admission.EMPTY, admission.NOT_EMBEDDED, admission.EMBEDDING_NOT_FINITE, admission.EMBEDDING_ZERO),
            *(admission.ELAPSED_NOT_FINITE, admission.ELAPSED_NEGATIVE, admission.OFF_TOPIC, admission.NO_AGREEMENT),
            *REMOVALS,
        )
    )
)
"""Why a miner was not paid, or an answer was left out: told as a whole, so that their words are none by themselves."""

_FUNCTION = """
a an and are as at be because been being but by did do does for from had has have here in into is it its of on or
out so than that the their them then there these they this those to was were when where whereas which while who
whom whose with
"""
_DENYING = "neither never no nobody none nor not without"
_ROUND = """
account against all answer answered answering answers asked challenge consensus cosine everyone figure figures
following found gate group groups independent listed mean measure measured measures miner miners namely network
neuron neurons node nodes outcome overview own peer peers plus profile question questions reason reasons replied
replies reply reports respectively respond responded responding response responses result results robust round
score scored scores similarity spread summary time total totals turnout uid uids
"""
_PAY = "average emission emissions paid payment payments payout payouts rewarded unpaid"
_FIGURES = "coverage meaning relevance wording threshold"
_CLAIMS = """
agree agreed agreeing agreement agrees best copied copies copy copying duplicate duplicates excluded excludes heard
highest identical leader leads leaves left near reach reached received removed removes top winner won
"""

WORDS = frozenset(" ".join((_FUNCTION, _DENYING, _ROUND, _PAY, _FIGURES, _CLAIMS)).split())
