"""How much a caller may send: a body is refused before it fills the memory."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 4 * 1024 * 1024
TOO_LARGE = f"the body is larger than {MAX_BODY_BYTES} bytes, which is the most that is taken; send a smaller one"


class BodyLimit:
    """ASGI middleware that answers 413 to a body over `MAX_BODY_BYTES`, stated or streamed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _stated_bytes(scope) > MAX_BODY_BYTES:
            await JSONResponse({"detail": TOO_LARGE}, status_code=413)(scope, receive, send)
        else:
            await self._app(scope, _counted(receive), send)


def _counted(receive: Receive) -> Receive:
    received = 0

    async def counting() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, TOO_LARGE)  # the app's own handler answers it
        return message

    return counting


def _stated_bytes(scope: Scope) -> int:
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    # 19 digits are beyond any limit, and thousands of them beyond what int() reads
    return max((int(value[:19]) for value in values if value.isdigit()), default=0)
