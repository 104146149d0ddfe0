"""What the Challenge API reads to decide whether to send work here. It is true, or it is not said."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from ingress.parts import PartsOf
from ingress.version import SERVICE_NAME
from loosh_pipeline.domain import ChallengeState

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
    version: str
    status: Literal["healthy", "unhealthy"]
    reasons: list[str]
    queue_size: int
    processing_stats: ProcessingStats


@router.get("")
def availability(parts: PartsOf) -> Availability:
    """Whether a challenge posted now would be accepted."""
    return Availability(available=parts.intake.open())


@router.get("/health")
@router.get("/healthz", include_in_schema=False)
def health(parts: PartsOf) -> Health:
    """How the validator is, in the network's shape, with the reason when it is not well."""
    stats = parts.inbox.stats()
    active = sum(stats.by_state.get(s, 0) for s in (ChallengeState.DISPATCHED, ChallengeState.COLLECTED))
    capacity = max(0, parts.settings.max_concurrent_runs - active)
    reasons = parts.health.look().reasons
    return Health(
        version=parts.settings.version_told,
        status="unhealthy" if reasons else "healthy",
        reasons=list(reasons),
        queue_size=stats.queued,
        processing_stats=ProcessingStats(
            queue_size=stats.queued,
            active_challenges=active,
            max_concurrent=parts.settings.max_concurrent_runs,
            available_capacity=capacity,
            semaphore_available=capacity,
        ),
    )
