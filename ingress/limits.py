"""What reaches a route: not too often, not too large, not too slowly, and not too much at once."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingress.callers import CALLER, caller_of
from ingress.rates import Rates, retry_after, too_many

BODY_WITHIN_S = 30.0
BODIES_AT_ONCE = 16
"""Bodies of the largest size that may be held in memory together."""


class Gate:
    """ASGI middleware in front of everything: 429, 413, 408 and 503 before a route does any work.

    It puts the `Caller` into the scope. The body counts by what is stated as well as by what arrives.
    """

    def __init__(
        self, app: ASGIApp, *, rates: Rates, max_body_bytes: int, body_within_s: float = BODY_WITHIN_S
    ) -> None:
        self._app = app
        self._rates = rates
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = max_body_bytes * BODIES_AT_ONCE
        self._body_within_s = body_within_s
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = scope[CALLER] = caller_of(scope)
        if wait_s := self._rates.wait_s(caller):
            await _answer(too_many(wait_s), scope, receive, send)
        elif _stated_bytes(scope) > self._max_body_bytes:
            await _answer(self._too_large(), scope, receive, send)
        else:
            body = _Body(self, receive)
            try:
                await self._app(scope, body.receive, send)
            finally:
                self._held_bytes -= body.received

    def hold(self, count: int, received: int) -> None:
        """Note that a body of `received` bytes so far got `count` more. Raises what the app's handler answers."""
        self._held_bytes += count
        if received > self._max_body_bytes:
            raise self._too_large()
        if self._held_bytes > self._max_held_bytes:
            raise HTTPException(503, "too many large requests at once; try again soon", headers=retry_after(1))

    @property
    def body_within_s(self) -> float:
        return self._body_within_s

    def _too_large(self) -> HTTPException:
        return HTTPException(
            413, f"the body is larger than {self._max_body_bytes} bytes, which is the most that is taken; send less"
        )


class _Body:
    """The body of one request as it arrives."""

    def __init__(self, gate: Gate, receive: Receive) -> None:
        self._gate = gate
        self._receive = receive
        self._complete = False
        self._deadline_s: float | None = None
        self.received = 0

    async def receive(self) -> Message:
        message = await (self._receive() if self._complete else self._in_time())
        count = len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if count:
            self.received += count
            self._gate.hold(count, self.received)
        return message

    async def _in_time(self) -> Message:
        if self._deadline_s is None:
            self._deadline_s = asyncio.get_running_loop().time() + self._gate.body_within_s
        try:
            async with asyncio.timeout_at(self._deadline_s):
                return await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, f"the body did not arrive within {self._gate.body_within_s:g} s") from error


async def _answer(refusal: HTTPException, scope: Scope, receive: Receive, send: Send) -> None:
    body = {"detail": refusal.detail}
    await JSONResponse(body, status_code=refusal.status_code, headers=refusal.headers)(scope, receive, send)


def _stated_bytes(scope: Scope) -> int:
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    # 19 digits are beyond any limit, and thousands of them beyond what int() reads
    return max((int(value[:19]) for value in values if value.isdigit()), default=0)
