"""What the Challenge API reads to decide whether to send work here. It is true, or it is not said."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from ingress.parts import Parts, PartsOf, now
from ingress.version import SERVICE_NAME, VERSION
from loosh_pipeline.domain import ChallengeState

UNCONSUMED_AFTER_S = 120.0
"""The sensor looks every few seconds: what waits longer, nobody consumes."""

router = APIRouter(prefix="/availability", tags=["availability"])


class Availability(BaseModel):
    available: bool


class ProcessingStats(BaseModel):
    queue_size: int
    challenge_mode: Literal["push"] = "push"
    active_challenges: int
    max_concurrent: int
    available_capacity: int
    semaphore_available: int


class Health(BaseModel):
    service_name: str = SERVICE_NAME
    version: str = VERSION
    status: Literal["healthy", "unhealthy"]
    reasons: list[str]
    queue_size: int
    processing_stats: ProcessingStats


@router.get("")
def availability(parts: PartsOf) -> Availability:
    """Whether a challenge posted now would be accepted."""
    return Availability(available=parts.inbox.is_running())


@router.get("/health")
@router.get("/healthz", include_in_schema=False)
def health(parts: PartsOf) -> Health:
    """How the validator is, in the network's shape, with the reason when it is not well."""
    stats = parts.inbox.stats()
    active = sum(stats.by_state.get(s, 0) for s in (ChallengeState.DISPATCHED, ChallengeState.COLLECTED))
    capacity = max(0, parts.settings.max_concurrent_runs - active)
    reasons = _reasons(parts)
    return Health(
        status="unhealthy" if reasons else "healthy",
        reasons=reasons,
        queue_size=stats.queued,
        processing_stats=ProcessingStats(
            queue_size=stats.queued,
            active_challenges=active,
            max_concurrent=parts.settings.max_concurrent_runs,
            available_capacity=capacity,
            semaphore_available=capacity,
        ),
    )


def _reasons(parts: Parts) -> list[str]:
    reasons = [] if parts.inbox.is_running() else ["stopped by an operator with /set_running"]
    due_since = parts.inbox.oldest_waiting()
    if due_since is not None and (late_s := (now() - due_since).total_seconds()) > UNCONSUMED_AFTER_S:
        reasons.append(f"a challenge has waited {late_s:.0f} s for its run to be requested; is the Dagster daemon up?")
    return reasons
