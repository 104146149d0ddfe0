"""What of the inbox a page may show to whom."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request

from ingress.callers import CALLER
from ingress.parts import Parts
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.canaries import Canaries


def is_operator(request: Request, parts: Parts) -> bool:
    """Whether paths, addresses and what went wrong may be told: not to those whom PAGES_PUBLIC lets in."""
    return parts.door.is_operator(request.headers, request.scope[CALLER])


def hidden(parts: Parts, ids: Sequence[ChallengeId]) -> frozenset[ChallengeId]:
    """Those that no page may show: canaries, where miners may be among the readers and would learn which they are."""
    return frozenset(Canaries(parts.inbox.engine).among(ids)) if parts.settings.pages_public else frozenset()


def names_rounds(parts: Parts) -> bool:
    """Whether a page may name the rounds that a miner was paid for: miners that read them would know the canaries by
    what is missing, as with its receipt.
    """
    return not (parts.settings.pages_public and Canaries(parts.inbox.engine).any())
