"""What reaches a route: not too often, not too large, and not too much at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingress.callers import CALLER, Caller, caller_of
from ingress.rates import Rates, retry_after, too_many
from loosh_pipeline.wire.messages import CHALLENGE_PATH, KEY_EXCHANGE_PATH
from loosh_pipeline.wire.push import MAX_EXCHANGE_BYTES
from loosh_pipeline.wire.pushing import CHALLENGES_PATH

LARGE = frozenset({CHALLENGES_PATH, CHALLENGE_PATH})
"""Routes that take challenges. The bodies of all others are small."""
SMALL_BYTES = MAX_EXCHANGE_BYTES
COUNTS_ITSELF = KEY_EXCHANGE_PATH
"""Who calls this one stands in its body."""
BODIES_AT_ONCE = 16
"""Bodies of the largest size that may be held in memory together."""
BODIES_OF_ONE = 2
"""As many of them may come from one address."""
LITTLE_BYTES = 256 * 1024
"""An address that holds no more is let in while others hold all there is."""

Claim = Callable[[Mapping[str, str]], str | None]


class Gate:
    """ASGI middleware in front of everything: 429, 413 and 503 before a route does any work.

    It puts the `Caller` into the scope. The body counts by what is stated as well as by what arrives. `claim` names
    who that may push a request says it is from; such a one is counted apart. `port` is the one served on, and
    `proxies` are the networks of this validator's own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rates: Rates,
        max_body_bytes: int,
        port: int | None = None,
        proxies: tuple[str, ...] = (),
        claim: Claim | None = None,
    ) -> None:
        self._app = app
        self._rates = rates
        self._max_body_bytes = max_body_bytes
        self._port = port
        self._proxies = proxies
        self._claim = claim
        self._held = Counter[str]()
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = scope[CALLER] = caller_of(scope, self._port, self._proxies)
        most = self._max_body_bytes if scope["path"] in LARGE else min(SMALL_BYTES, self._max_body_bytes)
        if wait_s := self._wait_s(scope, caller):
            await answer(too_many(wait_s), scope, receive, send)
        elif _stated_bytes(scope) > most:
            await answer(_too_large(most), scope, receive, send)
        else:
            await self._counted(scope, receive, send, most)

    def _wait_s(self, scope: Scope, caller: Caller) -> float:
        if self._rates.exempt(caller) or (scope["path"] == COUNTS_ITSELF and scope["method"] == "POST"):
            return 0.0
        pushes = scope["path"] in LARGE and scope["method"] == "POST"
        claim = self._claim(Headers(scope=scope)) if pushes and self._claim is not None else None
        return self._rates.wait_s(caller) if claim is None else self._rates.claim_wait_s(caller, claim)

    async def _counted(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        received, caller = 0, scope[CALLER]

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            if count := len(message.get("body", b"")):
                received += count
                self._held_bytes += count
                self._held[caller.address] += count
                if received > most:
                    raise _too_large(most)
                self._check(caller)
            return message

        try:
            await self._app(scope, counting, send)
        finally:
            self._held_bytes -= received
            self._held[caller.address] -= received
            if not self._held[caller.address]:
                del self._held[caller.address]

    def _check(self, caller: Caller) -> None:
        """Raises what the app's own handler answers when too much is held of one address, or of all together.

        Then it is the hoarder that is refused, not whoever comes with little.
        """
        held = self._held[caller.address]
        of_one = self._max_body_bytes * BODIES_OF_ONE
        of_all = self._max_body_bytes * BODIES_AT_ONCE
        if (held > of_one and not caller.local) or (self._held_bytes > of_all and held > LITTLE_BYTES):
            raise HTTPException(503, "too many large requests at once; try again soon", headers=retry_after(1))


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {most} bytes, which is the most that is taken; send less")


async def answer(refusal: HTTPException, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a refusal, in the shape that every server of the network refuses in."""
    body = {"detail": refusal.detail}
    await JSONResponse(body, status_code=refusal.status_code, headers=refusal.headers)(scope, receive, send)


def _stated_bytes(scope: Scope) -> int:
    values = [value for name, value in scope["headers"] if name == b"content-length"]
    # 19 digits are beyond any limit, and thousands of them beyond what int() reads
    return max((int(value[:19]) for value in values if value.isdigit()), default=0)
