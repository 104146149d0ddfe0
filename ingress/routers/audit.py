"""Seals on what decided weights, for anybody: whoever took one down in time can hold this validator to it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, status
from pydantic import BaseModel

from ingress.parts import PartsOf

router = APIRouter(prefix="/audit", tags=["audit"])


class SealShown(BaseModel):
    """One seal in the list; all of it is at `/audit/seals/NUMBER`."""

    number: int
    validator: str
    netuid: int
    root: str
    sealed_at: str
    sealed_block: int
    sample_block: int


class Seals(BaseModel):
    seals: list[SealShown]


@router.get("/seals")
def seals(parts: PartsOf) -> Seals:
    """The newest seals, the last submission of weights first. No login: everybody may know them."""
    return Seals.model_validate({"seals": parts.seals.newest()})


@router.get("/seals/{number}", responses={404: {"description": "no such submission, or it has no seal"}})
def seal(number: int, parts: PartsOf) -> dict[str, Any]:
    """The seal of one submission with its signature: sr25519, by the hotkey, over the canonical JSON of `seal`."""
    found = parts.seals.of(number)
    if found is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"submission {number} has no seal here")
    return found
