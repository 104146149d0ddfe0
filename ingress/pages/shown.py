"""What of the inbox a page may show to whom."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request

from ingress.callers import CALLER
from ingress.parts import Parts
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.requests import MAX_ID_CHARS
from loosh_pipeline.store.canaries import Canaries


def is_operator(request: Request, parts: Parts) -> bool:
    """Whether paths, addresses and what went wrong may be told: not to those whom PAGES_PUBLIC lets in."""
    return parts.door.is_operator(request.headers, request.scope[CALLER])


def challenges_are_open(request: Request, parts: Parts) -> bool:
    """Whether a reader may be shown anything of single challenges, be it when they came.

    Not one whom PAGES_PUBLIC lets in where canaries are asked: a miner that finds what it was just asked among what
    others pushed, or sees nothing come as it was asked, knows which of it had a known answer.
    """
    return is_operator(request, parts) or not (parts.settings.canary_rate or Canaries(parts.inbox.engine).any())


def could_be_one(challenge_id: str) -> bool:
    """Whether a challenge of this id can have been accepted. Others no database is asked for: some fail at them."""
    return 0 < len(challenge_id) <= MAX_ID_CHARS and challenge_id.isprintable()


def hidden(parts: Parts, ids: Sequence[ChallengeId]) -> frozenset[ChallengeId]:
    """Those that no page may show: canaries, where miners may be among the readers and would learn which they are."""
    if not parts.settings.pages_public:
        return frozenset()
    return Canaries(parts.inbox.engine).among(each for each in ids if could_be_one(each))


def names_rounds(parts: Parts) -> bool:
    """Whether a page may name the rounds that a miner was paid for: miners that read them would know the canaries by
    what is missing, as with its receipt.
    """
    return not (parts.settings.pages_public and Canaries(parts.inbox.engine).any())
