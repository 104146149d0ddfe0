"""Counts what requests to push became, by classes of which there are few: nothing a stranger sends is a label."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loosh_pipeline.wire.messages import CHALLENGE_PATH, KEY_EXCHANGE_PATH
from loosh_pipeline.wire.pushing import CHALLENGES_PATH

HUNG_UP = 499
ROUTES = {CHALLENGES_PATH: "plain", CHALLENGE_PATH: "encrypted", KEY_EXCHANGE_PATH: "key_exchange"}
RESULTS = {
    200: "accepted",
    201: "accepted",
    400: "not_understood",
    401: "not_authorised",
    403: "not_authorised",
    409: "duplicate",
    413: "too_large",
    415: "not_understood",
    422: "not_understood",
    429: "too_many",
    HUNG_UP: "hung_up",
    503: "unavailable",
}
OTHER = "other"
DISPATCH_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Counts:
    """Counters of this process; they begin at zero at its start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "loosh_intake_requests_total",
            "Requests to push a challenge or to open a session, by what became of them.",
            ("route", "result"),
            registry=registry,
        )
        self._by_pair = {
            (route, result): self._requests.labels(route, result)
            for route in ROUTES.values()
            for result in sorted({*RESULTS.values(), OTHER})
        }
        self.dispatched = Histogram(
            "loosh_dispatch_seconds",
            "From the acceptance of a challenge to the launch of its first run, of those that the ingress launches.",
            buckets=DISPATCH_BUCKETS_S,
            registry=registry,
        )

    def answered(self, path: str, status: int) -> None:
        self._by_pair[ROUTES[path], RESULTS.get(status, OTHER)].inc()


LEFT_OUT = ("regular", "no_template", "no_question", "used_up", "no_room", "closed", "failed")
"""Why a canary is not put in: docs/operating/canaries.md."""


class CanaryCounts:
    """What became of canaries since the start of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.put_in = Counter("loosh_canaries_put_in_total", "Canaries that were put in.", registry=registry)
        self.left = Gauge(
            "loosh_canary_questions_left", "Questions that may still be put in, as of the last try.", registry=registry
        )
        left_out = Counter(
            "loosh_canaries_left_out_total",
            "Canaries that were due and not put in; of regular, pushes after which none could come.",
            ("reason",),
            registry=registry,
        )
        self._left_out = {reason: left_out.labels(reason) for reason in LEFT_OUT}

    def left_out(self, reason: str) -> None:
        self._left_out[reason].inc()


class Counting:
    """ASGI middleware outside of everything: what it sees is what the sender hears."""

    def __init__(self, app: ASGIApp, *, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ROUTES or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        status = HUNG_UP

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:  # as uvicorn ends what nobody waits for any more
            status = HUNG_UP
            raise
        except BaseException:
            status = 500
            raise
        finally:
            self._counts.answered(scope["path"], status)
