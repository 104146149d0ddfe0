"""Registering users, true figures, and the switch that stops intake."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Request, status
from pydantic import BaseModel, Field

from ingress.callers import CALLER
from ingress.parts import Parts, PartsOf, now
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import StoreError

router = APIRouter(tags=["operator"])

ACTIVE_WITHIN = timedelta(hours=1)
REGISTER_COST = 9.0
"""A registration counts as ten requests of its address: it is kept for good."""

MasterHotkey = Annotated[str, Header(description="hotkey of the caller, for the log")]


class Registration(BaseModel):
    hotkey: Annotated[str, Field(min_length=1, max_length=64)]


class Done(BaseModel):
    success: bool = True
    message: str


class Running(BaseModel):
    running: bool


class Stats(BaseModel):
    total_challenges: int
    successful_responses: int
    failed_responses: int
    average_response_time_ms: float
    uptime_seconds: int
    active_miners: int


def from_this_machine(request: Request) -> None:
    """Refuse a caller from elsewhere: whoever may call this can stop the validator."""
    caller = request.scope[CALLER]
    if not caller.local:
        raise HTTPException(
            status.HTTP_403_FORBIDDEN, f"only from the validator's own machine, not from {caller.address}"
        )


@router.post("/register/")
@router.post("/register", include_in_schema=False)
def register(request: Request, registration: Registration, parts: PartsOf) -> Done:
    """Register a user by hotkey; doing so twice changes nothing."""
    parts.rates.count_address(request.scope[CALLER], REGISTER_COST)
    try:
        parts.users.register(Hotkey(registration.hotkey), now())
    except StoreError as error:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, str(error)) from error
    return Done(message=f"User with hotkey {registration.hotkey} registered successfully")


@router.get("/stats")
def stats(parts: PartsOf) -> Stats:
    """Figures since the first challenge; `active_miners` answered one within the last hour."""
    return _stats(parts)


@router.get("/get_stats", include_in_schema=False)
def get_stats(parts: PartsOf, master_hotkey: MasterHotkey) -> Stats:
    """The network's older name for /stats, which demands a header."""
    return _stats(parts)


@router.post("/set_running", dependencies=[Depends(from_this_machine)])
def set_running(change: Running, parts: PartsOf, master_hotkey: MasterHotkey) -> Done:
    """Stop or resume taking challenges. What was accepted is evaluated all the same; survives a restart."""
    parts.inbox.set_running(change.running, now())
    parts.health.look()
    return Done(message=f"Validator running status set to: {change.running}")


def _stats(parts: Parts) -> Stats:
    figures = parts.inbox.stats()
    return Stats(
        total_challenges=figures.total,
        successful_responses=figures.answered,
        failed_responses=figures.asked - figures.answered,
        average_response_time_ms=figures.mean_elapsed_ms,
        uptime_seconds=parts.uptime_s(),
        active_miners=parts.inbox.active_miners(now() - ACTIVE_WITHIN),
    )
