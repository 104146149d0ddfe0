"""Accepting challenges: committed first, then 201."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, status
from pydantic import BaseModel

from ingress.parts import PartsOf, now
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import DuplicateChallenge
from loosh_pipeline.requests import ChallengeRequest

router = APIRouter(prefix="/challenges", tags=["challenges"])


class Accepted(BaseModel):
    success: bool = True
    message: str = "Challenge received successfully"
    challenge_id: str


class QueueStats(BaseModel):
    queue_size: int
    total_received: int


class Problem(BaseModel):
    detail: str


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses={
        409: {"model": Problem, "description": "the id was accepted before"},
        503: {"model": Problem, "description": "the validator was stopped with /set_running"},
    },
)
def receive_challenge(request: ChallengeRequest, parts: PartsOf) -> Accepted:
    """Accept a challenge. Once 201 is answered it is on disk, and it will be evaluated whatever dies."""
    if not parts.inbox.is_running():
        raise HTTPException(
            status.HTTP_503_SERVICE_UNAVAILABLE,
            'the validator is stopped and takes no new challenges; POST /set_running {"running": true} resumes it',
            headers={"Retry-After": "60"},
        )
    challenge_id = ChallengeId(request.id)
    received_at = now()
    try:
        parts.inbox.accept(challenge_id, request.stored(received_at), received_at)
    except DuplicateChallenge as error:
        raise HTTPException(status.HTTP_409_CONFLICT, str(error)) from error
    parts.launcher.launch_soon(challenge_id)
    return Accepted(challenge_id=challenge_id)


@router.get("/stats")
def challenge_stats(parts: PartsOf) -> QueueStats:
    """How many challenges were ever accepted, and how many still wait for their scores."""
    stats = parts.inbox.stats()
    return QueueStats(queue_size=stats.queued, total_received=stats.total)
