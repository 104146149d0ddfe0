"""What reaches a route: not too often, not too large, and not too much at once."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingress.callers import CALLER, caller_of
from ingress.rates import Rates, retry_after, too_many

BODIES_AT_ONCE = 16
"""Bodies of the largest size that may be held in memory together."""


class Gate:
    """ASGI middleware in front of everything: 429, 413 and 503 before a route does any work.

    It puts the `Caller` into the scope. The body counts by what is stated as well as by what arrives.
    """

    def __init__(self, app: ASGIApp, *, rates: Rates, max_body_bytes: int) -> None:
        self._app = app
        self._rates = rates
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = max_body_bytes * BODIES_AT_ONCE
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = scope[CALLER] = caller_of(scope)
        if wait_s := self._rates.wait_s(caller):
            await answer(too_many(wait_s), scope, receive, send)
        elif _stated_bytes(scope) > self._max_body_bytes:
            await answer(self._too_large(), scope, receive, send)
        else:
            await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            if count := len(message.get("body", b"")):
                received += count
                self._held_bytes += count
                self._check(received)
            return message

        try:
            await self._app(scope, counting, send)
        finally:
            self._held_bytes -= received

    def _check(self, received: int) -> None:
        """Raises what the app's own handler answers when one body, or all together, are too large."""
        if received > self._max_body_bytes:
            raise self._too_large()
        if self._held_bytes > self._max_held_bytes:
            raise HTTPException(503, "too many large requests at once; try again soon", headers=retry_after(1))

    def _too_large(self) -> HTTPException:
        return HTTPException(
            413, f"the body is larger than {self._max_body_bytes} bytes, which is the most that is taken; send less"
        )


async def answer(refusal: HTTPException, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a refusal, in the shape that every server of the network refuses in."""
    body = {"detail": refusal.detail}
    await JSONResponse(body, status_code=refusal.status_code, headers=refusal.headers)(scope, receive, send)


def _stated_bytes(scope: Scope) -> int:
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    # 19 digits are beyond any limit, and thousands of them beyond what int() reads
    return max((int(value[:19]) for value in values if value.isdigit()), default=0)
