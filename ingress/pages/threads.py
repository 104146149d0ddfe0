"""Threads of pages, a few of their own: slow ones take none of those that answer the network and its probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from starlette.exceptions import HTTPException

AT_ONCE = 8
"""Pages that are made at once; all else has 40 threads."""
MAY_WAIT = 64
"""Pages that wait for one of these; whoever asks for more is told to come back."""
RETRY_AFTER_S = 5


@dataclass(slots=True)
class _Pages:
    """Those of one event loop. `asked`: how many are made or wait."""

    limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(AT_ONCE))
    asked: int = 0


_PAGES: RunVar[_Pages] = RunVar("pages")


def in_own_thread(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The same handler, called in one of the threads of pages; one that blocks nothing stays on the event loop.

    Raises HTTPException 503 where too many wait.
    """
    if iscoroutinefunction(handler):
        return handler

    @wraps(handler)
    async def called(*args: Any, **given: Any) -> Any:
        pages = _pages()
        if pages.asked >= AT_ONCE + MAY_WAIT:
            said = f"{MAY_WAIT} pages wait to be made already; try again in some seconds"
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, said, headers={"Retry-After": str(RETRY_AFTER_S)})
        pages.asked += 1
        try:
            return await to_thread.run_sync(partial(handler, *args, **given), limiter=pages.limiter)
        finally:
            pages.asked -= 1

    return called


def _pages() -> _Pages:
    try:
        return _PAGES.get()
    except LookupError:
        _PAGES.set(made := _Pages())
        return made
