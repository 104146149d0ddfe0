"""How a request that cannot be understood is answered."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

logger = logging.getLogger(__name__)

CLIENT_CLOSED = 499
SHOWN = ("type", "loc", "msg")


async def unprocessable(_request: Request, error: Exception) -> Response:
    """422 with what was wrong and where, in FastAPI's shape, without echoing the input.

    A stranger's input may be large, private, or (a lone surrogate, NaN) impossible to send back as JSON.
    """
    assert isinstance(error, RequestValidationError)
    detail: list[dict[str, Any]] = [{name: each.get(name) for name in SHOWN} for each in error.errors()]
    body = json.dumps({"detail": detail}, default=str)  # ASCII: whatever a message holds can be encoded
    return Response(body, status_code=422, media_type="application/json")


async def store_away(_request: Request, error: Exception) -> Response:
    """503 while a database cannot be read or written; what exactly, stands in the log."""
    logger.warning("a request could not be served: %s", getattr(error, "orig", error))
    body = json.dumps({"detail": "the store cannot be used right now; try again"})
    return Response(body, status_code=503, media_type="application/json", headers={"Retry-After": "15"})


async def gone(_request: Request, _error: Exception) -> Response:
    """For a sender that hung up in the middle of its body: nobody hears this, and it is no error of ours."""
    return Response(status_code=CLIENT_CLOSED)
