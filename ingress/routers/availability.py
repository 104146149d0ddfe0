"""What the Challenge API reads to decide whether to send work here. It is true, or it is not said."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from ingress.callers import CALLER
from ingress.parts import PartsOf
from ingress.version import SERVICE_NAME

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
async def availability(parts: PartsOf) -> Availability:
    """Whether a challenge posted now would be accepted."""
    return Availability(available=parts.intake.open())


@router.get("/health")
@router.get("/healthz", include_in_schema=False)
def health(request: Request, parts: PartsOf) -> Health:
    """How the validator is, in the network's shape, with the reason when it is not well."""
    fresh = request.scope[CALLER].local  # strangers hear how it was within the last second, which costs nothing
    condition = parts.health.look() if fresh else parts.health.condition
    reasons = list(parts.health.reasons())
    most = parts.settings.max_concurrent_runs
    capacity = max(0, most - condition.active)
    return Health(
        version=parts.settings.version_told,
        status="unhealthy" if reasons else "healthy",
        reasons=reasons,
        queue_size=condition.waiting,
        processing_stats=ProcessingStats(
            queue_size=condition.waiting,
            active_challenges=condition.active,
            max_concurrent=most,
            available_capacity=capacity,
            semaphore_available=capacity,
        ),
    )
