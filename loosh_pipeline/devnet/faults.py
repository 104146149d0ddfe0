"""What can go wrong with a miner, one switch each: for tests, and to see what a validator makes of it."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography.fernet import Fernet
from starlette.responses import RedirectResponse, Response, StreamingResponse

from loosh_pipeline.devnet.http import refusal
from loosh_pipeline.errors import DevnetError
from loosh_pipeline.wire.crypto import new_symmetric_key, seal

HUGE_BYTES = 256 * 1024 * 1024
BOMB_BYTES = 64 * 1024 * 1024
STALE_S = 2 * 3600
HANG_S = 3600.0
RETRY_AFTER_S = 30
_GOOD_ANSWER = b'{"response_text": "an answer"}'
_CHUNK = bytes(64 * 1024)


class Fault(StrEnum):
    """One thing a miner does to every challenge, whatever it would have answered."""

    SLOW = "slow"
    HANG = "hang"
    LOADING = "loading"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    UNKNOWN_KEY = "unknown_key"
    """401 that offers its public key, every time."""
    UNDECRYPTED = "undecrypted"
    """401 without a key."""
    BAD_REQUEST = "bad_request"
    GARBAGE = "garbage"
    WRONG_KEY = "wrong_key"
    STALE_TOKEN = "stale_token"
    NO_TEXT = "no_text"
    NULL = "null"
    HUGE = "huge"
    GZIP_BOMB = "gzip_bomb"
    REDIRECT = "redirect"
    ODD_AVAILABILITY = "odd_availability"
    """Its availability is no JSON; challenges it answers."""
    CHALLENGE_DEAD = "challenge_dead"
    """It says that it is available, and all else is an internal error."""
    RESTART = "restart"
    """It forgets its RSA key and its sessions before the first challenge, once."""


def faults_named(names: Iterable[str]) -> tuple[Fault, ...]:
    """Raises DevnetError for a name that is no fault's."""
    named = tuple(names)
    if unknown := [name for name in named if name not in set(Fault)]:
        raise DevnetError(f"there is no fault {unknown[0]!r}; there are {', '.join(Fault)}")
    return tuple(map(Fault, named))


@dataclass(frozen=True, slots=True)
class Struck:
    """A challenge that meets a fault: the key it came under, and the public key the miner could offer."""

    key: bytes
    public_pem: str


_Strike = Callable[[Struck], Awaitable[Response]]


async def faulty_answer(fault: Fault | None, struck: Struck) -> Response | None:
    """What a faulty miner sends instead of an answer; None when the fault is elsewhere."""
    strike = None if fault is None else _STRIKES.get(fault)
    return None if strike is None else await strike(struck)


def unknown_key(public_pem: str) -> Response:
    """401 that lets the validator shake hands again at once."""
    detail = "Symmetric key not found or expired. Re-handshake required."
    return refusal(401, detail, public_key=public_pem, requires_handshake=True)


async def _hang(struck: Struck) -> Response:
    await asyncio.sleep(HANG_S)
    return refusal(503, "it hung for an hour")


async def _unknown_key(struck: Struck) -> Response:
    return unknown_key(struck.public_pem)


async def _huge(struck: Struck) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(HUGE_BYTES // len(_CHUNK)):
            yield _CHUNK

    return StreamingResponse(chunks(), media_type="application/octet-stream")


async def _gzip_bomb(struck: Struck) -> Response:
    return Response(gzip.compress(bytes(BOMB_BYTES), 1), headers={"content-encoding": "gzip"})


async def _redirect(struck: Struck) -> Response:
    return RedirectResponse("http://169.254.169.254/latest/meta-data/")


def _refuses(status: int, detail: str, **headers: str) -> _Strike:
    async def strike(struck: Struck) -> Response:
        return refusal(status, detail, {name.replace("_", "-"): value for name, value in headers.items()})

    return strike


def _sends(body: Callable[[Struck], bytes]) -> _Strike:
    async def strike(struck: Struck) -> Response:
        return Response(body(struck), media_type="application/octet-stream")

    return strike


def _stale(struck: Struck) -> bytes:
    return Fernet(struck.key).encrypt_at_time(_GOOD_ANSWER, int(time.time()) - STALE_S)


_STRIKES: Mapping[Fault, _Strike] = {
    Fault.HANG: _hang,
    Fault.LOADING: _refuses(503, "Model is loading"),
    Fault.FORBIDDEN: _refuses(403, "Validator hotkey is not whitelisted"),
    Fault.RATE_LIMITED: _refuses(429, "Rate limit exceeded", retry_after=str(RETRY_AFTER_S)),
    Fault.UNKNOWN_KEY: _unknown_key,
    Fault.UNDECRYPTED: _refuses(401, "Failed to decrypt payload"),
    Fault.BAD_REQUEST: _refuses(400, "Neither prompt nor messages provided"),
    Fault.GARBAGE: _sends(lambda struck: os.urandom(256)),
    Fault.WRONG_KEY: _sends(lambda struck: seal(new_symmetric_key(), _GOOD_ANSWER)),
    Fault.STALE_TOKEN: _sends(_stale),
    Fault.NO_TEXT: _sends(lambda struck: seal(struck.key, b'{"response_time_ms": 1}')),
    Fault.NULL: _sends(lambda struck: seal(struck.key, b"null")),
    Fault.HUGE: _huge,
    Fault.GZIP_BOMB: _gzip_bomb,
    Fault.REDIRECT: _redirect,
    Fault.CHALLENGE_DEAD: _refuses(500, "Internal server error"),
}
