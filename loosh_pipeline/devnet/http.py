"""What the devnet's HTTP apps share: answers in the network's shapes, and bodies with a limit."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse

from loosh_pipeline.wire.bodies import BodyTooLarge

MAX_REQUEST_BYTES = 8 * 1024 * 1024


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None, **fields: object) -> JSONResponse:
    """`{"detail": ...}`, as every server of the network refuses."""
    return JSONResponse({"detail": detail, **fields}, status_code=status, headers=headers)


async def too_large(request: Request, error: Exception) -> JSONResponse:
    """The exception handler for `BodyTooLarge`."""
    return refusal(413, str(error))


async def request_body(request: Request, max_bytes: int = MAX_REQUEST_BYTES) -> bytes:
    """The body of a request. Raises BodyTooLarge as soon as it is longer than `max_bytes`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyTooLarge(f"body is longer than {max_bytes} bytes")
    return bytes(body)
