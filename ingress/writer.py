"""Commits challenges in groups: whoever arrives while the disk is waited for goes into the next transaction.

A request is answered after the commit that holds its row, so that a kill at any moment loses nothing that was
answered with 201.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.arrivals import Arrival, Verdict, commit_arrivals

logger = logging.getLogger(__name__)

MAX_GROUP = 128
MAX_WAITING = 1024
COMMIT_WITHIN_S = 10.0
STOP_WITHIN_S = 10.0

Commit = Callable[[Engine, Sequence[Arrival]], list[Verdict]]


class StoreUnavailable(StoreError):
    """Nothing can be committed right now."""


@dataclass(slots=True)
class _Waiting:
    """A request that waits for its commit; `given_up` when nobody waits any more."""

    arrival: Arrival
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Verdict]
    given_up: bool = field(default=False)


class Writer:
    """One thread that commits what requests bring. At most MAX_WAITING wait for it."""

    def __init__(self, engine: Engine, *, commit: Commit = commit_arrivals, within_s: float = COMMIT_WITHIN_S) -> None:
        self._engine = engine
        self._commit = commit
        self._within_s = within_s
        self._queue: queue.Queue[_Waiting | None] = queue.Queue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Commit what waits, then end; what the disk does not take in time is told that it was not kept."""
        self._stopped.set()
        self._queue.put(None)
        self._thread.join(STOP_WITHIN_S)

    async def keep(self, arrival: Arrival) -> None:
        """Return when the challenge is on disk.

        Raises DuplicateChallenge or NonceUsed, and StoreUnavailable when it is not known to be kept: the sender then
        tries again, and hears 409 if it was.
        """
        if self._stopped.is_set() or self._queue.qsize() >= MAX_WAITING:
            raise StoreUnavailable("more challenges arrive than can be written; try again")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(arrival, loop, loop.create_future())
        self._queue.put(waiting)
        try:
            async with asyncio.timeout(self._within_s):
                verdict = await waiting.answer
        except TimeoutError as error:
            waiting.given_up = True
            raise StoreUnavailable(f"the store did not take the challenge within {self._within_s:g} s") from error
        if verdict is not None:
            raise verdict

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            group, ended = self._group(first)
            wanted = [waiting for waiting in group if not waiting.given_up]
            verdicts = self._committed([waiting.arrival for waiting in wanted])
            _tell(wanted, verdicts)
            if ended:
                return

    def _group(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Whoever waits already, and whether the writer was told to end after them."""
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                return group, False
            if waiting is None:
                return group, True
            group.append(waiting)
        return group, False

    def _committed(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        if not arrivals:
            return []
        try:
            return self._commit(self._engine, arrivals)
        except OperationalError as error:
            return [StoreUnavailable(f"the store cannot be written: {error.orig}")] * len(arrivals)
        except Exception as error:  # what one of them brings about must not cost the others
            if len(arrivals) > 1:
                return [self._committed([arrival])[0] for arrival in arrivals]
            logger.exception("challenge %r could not be committed", arrivals[0].id)
            return [StoreUnavailable(f"the challenge could not be written: {type(error).__name__}")]


def _tell(group: Sequence[_Waiting], verdicts: Sequence[Verdict]) -> None:
    """Answer all of a group on their event loop, in one step."""

    def answer() -> None:
        for waiting, verdict in zip(group, verdicts, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(verdict)

    if not group:
        return
    try:
        group[0].loop.call_soon_threadsafe(answer)
    except RuntimeError:  # the server stopped meanwhile; what was committed stays
        logger.warning("%d challenges were committed after the server had stopped", len(group))
