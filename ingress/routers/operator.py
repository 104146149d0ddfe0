"""Registering users, true figures, and the switch that stops intake."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Request, status
from pydantic import BaseModel, Field

from ingress.callers import CALLER
from ingress.parts import Parts, PartsOf, now
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import NonceUsed, StoreError
from loosh_pipeline.store.nonces import Nonce, Nonces

router = APIRouter(tags=["operator"])

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


async def operator(request: Request, parts: PartsOf) -> Nonce | None:
    """Refuse whoever may not stop the validator; the nonce of one that had to sign."""
    return parts.door.operates(request.headers, await request.body(), request.scope[CALLER])


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
def stats(request: Request, parts: PartsOf) -> Stats:
    """Figures since the first challenge; `active_miners` answered one within the last hour."""
    return _stats(request, parts)


@router.get("/get_stats", include_in_schema=False)
def get_stats(request: Request, parts: PartsOf, master_hotkey: MasterHotkey) -> Stats:
    """The network's older name for /stats, which demands a header."""
    return _stats(request, parts)


@router.post("/set_running")
def set_running(
    change: Running, parts: PartsOf, master_hotkey: MasterHotkey, nonce: Annotated[Nonce | None, Depends(operator)]
) -> Done:
    """Stop or resume taking challenges. What was accepted is evaluated all the same; survives a restart."""
    if nonce is not None:
        try:
            Nonces(parts.inbox.engine).use(nonce)
        except NonceUsed as error:
            raise HTTPException(status.HTTP_401_UNAUTHORIZED, str(error)) from error
    parts.inbox.set_running(change.running, now())
    parts.health.look()
    return Done(message=f"Validator running status set to: {change.running}")


def _stats(request: Request, parts: Parts) -> Stats:
    counted = parts.figures(fresh=parts.rates.exempt(request.scope[CALLER]))
    figures = counted.inbox
    return Stats(
        total_challenges=figures.total,
        successful_responses=figures.answered,
        failed_responses=figures.asked - figures.answered,
        average_response_time_ms=figures.mean_elapsed_ms,
        uptime_seconds=parts.uptime_s(),
        active_miners=counted.active_miners,
    )
