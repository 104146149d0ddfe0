"""Accepting challenges: committed first, then 201."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel

from ingress.bodies import plain_challenge
from ingress.callers import CALLER
from ingress.parts import PartsOf, parts_of
from loosh_pipeline.audit.acceptances import Told
from loosh_pipeline.requests import ChallengeRequest
from loosh_pipeline.wire.headers import API_KEY_HEADER, HOTKEY_HEADER, LINK_HEADER, NONCE_HEADER, SIGNATURE_HEADER

CREDENTIALS = {
    HOTKEY_HEADER: "SS58 address of the hotkey that signs",
    NONCE_HEADER: "unix seconds, such as 1733011200.5; used once",
    SIGNATURE_HEADER: "0x and 128 hexadecimal digits: sr25519 over {nonce}:{hotkey}:{sha256 of the body, hexadecimal}",
    API_KEY_HEADER: "instead of a signature; or `Authorization: Bearer`",
}


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


class Problems(BaseModel):
    detail: list[dict[str, Any]]


OF_LINK: dict[str, Any] = {
    "schema": {"type": "string", "pattern": "^[0-9]+:[0-9a-f]{64}(:[0-9a-f]{128})?$"},
    "description": "SEQ:DIGEST:SIGNATURE, its place in the chain of all accepted challenges, signed by this validator "
    "(not where it has no wallet): keep it, and no challenge up to this one can be dropped unseen",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "not signed, or not rightly"},
    403: {"model": Problem, "description": "signed by a hotkey that may not push here"},
    409: {"model": Problem, "description": "the id was accepted before", "headers": {LINK_HEADER: OF_LINK}},
    413: {"model": Problem, "description": "the body is too large"},
    429: {"model": Problem, "description": "too many requests; see Retry-After"},
    503: {"model": Problem, "description": "no challenge is taken now, with the reasons; see Retry-After"},
}


LINKED: dict[int | str, dict[str, Any]] = {201: {"headers": {LINK_HEADER: OF_LINK | {"required": True}}}}
"""What comes with an acceptance."""

ACCEPTED = Accepted(challenge_id="%s").model_dump_json().replace('"%s"', "%s").encode()


def accepted(challenge_id: str, link: Told) -> Response:
    """201, as both ways of sending a challenge are answered."""
    return Response(
        ACCEPTED % json.dumps(challenge_id).encode(),
        status_code=201,
        media_type="application/json",
        headers={LINK_HEADER: str(link)},
    )


@router.post(
    "",
    status_code=201,
    response_model=Accepted,
    responses=LINKED
    | REFUSALS
    | {
        415: {"model": Problem, "description": "an unsigned challenge of another content type"},
        422: {"model": Problems, "description": "it cannot be scored, and why"},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ChallengeRequest.model_json_schema()}},
        },
        "parameters": [
            {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": said}
            for name, said in CREDENTIALS.items()
        ],
    },
)
async def receive_challenge(request: Request) -> Response:
    """Accept a challenge. Once 201 is answered it is on disk, and it will be evaluated whatever dies."""
    parts = parts_of(request)
    caller = request.scope[CALLER]
    parts.door.glance(request.headers, caller)
    await parts.intake.require_open()
    body = await request.body()
    nonce = parts.door.pushed(request.headers, body, caller)
    challenge = plain_challenge(body, parts.intake.limits)
    return accepted(challenge.id, await parts.intake.take(challenge, nonce))


@router.get("/stats")
def challenge_stats(request: Request, parts: PartsOf) -> QueueStats:
    """How many challenges were ever accepted, and how many still wait for their scores."""
    stats = parts.figures(fresh=parts.rates.exempt(request.scope[CALLER])).inbox
    return QueueStats(queue_size=stats.queued, total_received=stats.total)
