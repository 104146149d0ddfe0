"""Challenges that are pushed encrypted: dialect B of the fiber protocol, in which this validator is the server."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from ingress.bodies import problems, understood
from ingress.callers import CALLER
from ingress.handshakes import Handshakes
from ingress.parts import PartsOf, parts_of
from ingress.routers.challenges import LINKED, REFUSALS, Accepted, Problem, accepted
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.requests import ChallengeRequest, Limits
from loosh_pipeline.wire.codec import decode_json
from loosh_pipeline.wire.crypto import unseal
from loosh_pipeline.wire.messages import API_HOTKEY_HEADER, API_UUID_HEADER
from loosh_pipeline.wire.push import parse_push_key_exchange
from loosh_pipeline.wire.sessions import KEY_TTL_S

router = APIRouter(prefix="/fiber", tags=["fiber"])

Refusals = dict[int | str, dict[str, Any]]

EXCHANGE_COST = 10.0
"""A key exchange counts as ten requests of its address: it costs a private-key operation."""
UNDECRYPTABLE = "Failed to decrypt payload. Key may be expired or invalid."


class PublicKey(BaseModel):
    public_key: str = Field(description="RSA-2048, PEM SubjectPublicKeyInfo")


class KeyExchangeBody(BaseModel):
    """What opens a session. Only for the documentation: the body is decoded by the wire's own, stricter reader."""

    encrypted_symmetric_key: str = Field(description="a Fernet key, RSA-OAEP (SHA-256), standard base64")
    key_uuid: str
    timestamp: float = Field(description="unix seconds")
    signature: str = Field(description="sr25519 over {timestamp}.{hotkey}.{key_uuid}, hexadecimal, with or without 0x")
    hotkey_ss58: str


class Exchanged(BaseModel):
    success: bool = True
    message: str = "Symmetric key exchanged successfully"


class FiberStats(BaseModel):
    active_hotkeys: int
    total_symmetric_keys: int
    key_ttl_seconds: int


def _refusals(*statuses: int, d400: str, d422: str) -> Refusals:
    own: Refusals = {400: {"model": Problem, "description": d400}, 422: {"model": Problem, "description": d422}}
    return {status: REFUSALS[status] for status in statuses} | own


@router.get("/public-key")
def public_key(parts: PartsOf) -> PublicKey:
    """The key that a symmetric key is encrypted with. It is new after every start, unless ingresses share it."""
    return PublicKey(public_key=parts.handshakes.public_pem)


@router.post(
    "/key-exchange",
    responses=_refusals(
        401, 403, 413, 429, 503, d400="the symmetric key cannot be decrypted", d422="the body is no key exchange"
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": KeyExchangeBody.model_json_schema()}},
        }
    },
)
async def key_exchange(request: Request) -> Exchanged:
    """Open a session for challenges of one hotkey. Each exchange is good once, and only just after it was made."""
    parts = parts_of(request)
    caller = request.scope[CALLER]
    try:
        exchange = parse_push_key_exchange(await request.body())
    except WireError as error:
        parts.rates.count_address(caller, EXCHANGE_COST)
        raise HTTPException(401 if isinstance(error, CryptoError) else 422, str(error)) from error
    parts.door.count(exchange, caller, EXCHANGE_COST)
    parts.handshakes.check_time(exchange)
    nonce = parts.door.exchanged(exchange, caller, EXCHANGE_COST)
    await parts.handshakes.open(exchange, nonce, caller.address)
    return Exchanged()


@router.post(
    "/challenge",
    status_code=201,
    response_model=Accepted,
    responses=LINKED
    | _refusals(
        401, 409, 413, 429, 503, d400="what was decrypted is no challenge to be scored", d422="a header is missing"
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
            for name in (API_UUID_HEADER, API_HOTKEY_HEADER)
        ],
    },
)
async def receive_challenge(request: Request) -> Response:
    """Accept an encrypted challenge (a Fernet token) of an open session; otherwise like POST /challenges."""
    parts = parts_of(request)
    await parts.intake.require_open()
    hotkey, key_uuid = request.headers.get(API_HOTKEY_HEADER), request.headers.get(API_UUID_HEADER)
    if hotkey is None or key_uuid is None:
        raise HTTPException(422, f"headers {API_UUID_HEADER} and {API_HOTKEY_HEADER} are required")
    plaintext, signed = await _opened(parts.handshakes, hotkey, key_uuid, await request.body())
    if signed:  # only now is it known that this hotkey sent it; whose name a stranger took is not counted for it
        parts.rates.count_hotkey(request.scope[CALLER], hotkey)
    challenge = _challenge(plaintext, parts.intake.limits)
    return accepted(challenge.id, await parts.intake.take(challenge))


async def _opened(handshakes: Handshakes, hotkey: str, key_uuid: str, token: bytes) -> tuple[bytes, bool]:
    """What is in a token, and whether the hotkey of its session signed for that. Raises 401.

    A key that does not fit may have been replaced, under the same name, at another ingress.
    """
    key, signed = await handshakes.session(hotkey, key_uuid)
    if key is None:
        raise HTTPException(401, UNDECRYPTABLE)
    try:
        return _decrypted(key, token), signed
    except HTTPException:
        newer, signed = await handshakes.opened_elsewhere(hotkey, key_uuid, but=key)
        if newer is None:
            raise
        return _decrypted(newer, token), signed


def _decrypted(key: bytes, token: bytes) -> bytes:
    """What is in a token. Raises 401 when it is not one of this key, or holds nothing."""
    try:
        plaintext = unseal(key, token, ttl_s=int(KEY_TTL_S))
    except CryptoError as error:
        raise HTTPException(401, UNDECRYPTABLE) from error
    if not plaintext:
        raise HTTPException(401, UNDECRYPTABLE)
    return plaintext


def _challenge(plaintext: bytes, limits: Limits) -> ChallengeRequest:
    """The challenge in what was decrypted. Raises 400, the network's code for what cannot be understood."""
    try:
        value = decode_json(plaintext, "payload", limits.json_depth)
    except WireError as error:
        raise HTTPException(400, f"Invalid JSON in decrypted payload: {error}") from error
    try:
        return understood(value, limits)
    except ValidationError as error:
        raise HTTPException(400, f"Invalid challenge data: {problems(error)}") from error


@router.get("/stats")
def fiber_stats(parts: PartsOf) -> FiberStats:
    """How many sessions are open."""
    return FiberStats(**parts.handshakes.figures())
