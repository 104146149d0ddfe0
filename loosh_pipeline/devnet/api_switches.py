"""What can go wrong with the Challenge API, at will: a list of turns for each route, one for each request."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from starlette.requests import Request
from starlette.responses import Response

from loosh_pipeline.devnet.http import refusal
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.codec import Fields

MAX_TURNS = 1000

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Turn:
    """How one request is answered.

    With a `status` below 300 it is taken and, if nothing is wrong with it, answered with that; with any other it is
    refused unread. `hang`: the answer never comes, so the caller sees a timeout; what was taken stays taken.
    """

    status: int | None = None
    retry_after: str | None = None
    hang: bool = False

    @property
    def refuses(self) -> bool:
        return self.status is not None and self.status >= 300

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A turn as JSON has it. Raises WireError."""
        fields = Fields(values, "turn")
        if unknown := sorted(set(values) - {"status", "retry_after", "hang"}):
            raise WireError(f"turn: there is no {', '.join(unknown)[:100]}; there are status, retry_after and hang")
        status = fields.count("status", 599) or None
        if status is not None and status < 200:
            raise WireError(f"turn: status {status} ends no answer; give one from 200 to 599")
        return cls(status, fields.optional_text("retry_after", 64), fields.flag("hang"))


class Switches:
    """The turns to come, by path; a route without any behaves."""

    def __init__(self) -> None:
        self._turns: dict[str, deque[Turn]] = {}

    def set(self, path: str, turns: Iterable[Turn]) -> None:
        """Replace the turns of a route."""
        self._turns[path] = deque(turns, MAX_TURNS)

    def guard(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint`, taking its turns."""

        async def guarded(request: Request) -> Response:
            turns = self._turns.get(request.url.path)
            turn = turns.popleft() if turns else Turn()
            answer = await _answer(turn, endpoint, request)
            if turn.hang:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
            return answer

        return guarded


async def _answer(turn: Turn, endpoint: Endpoint, request: Request) -> Response:
    headers = {} if turn.retry_after is None else {"Retry-After": turn.retry_after}
    if turn.refuses:
        return refusal(turn.status or 500, "as switched", headers)
    answer = await endpoint(request)
    if turn.status is not None and answer.status_code < 300:
        answer.status_code = turn.status
    return answer
