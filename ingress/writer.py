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
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from loosh_pipeline.audit.acceptances import Link
from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.arrivals import Arrival, Verdict, commit_arrivals

logger = logging.getLogger(__name__)

MAX_GROUP = 128
MAX_WAITING = 1024
COMMIT_WITHIN_S = 10.0
WATCH_EVERY_S = 0.5
STOP_WITHIN_S = 10.0

Commit = Callable[[Engine, Sequence[Arrival]], list[Verdict]]


class StoreUnavailable(StoreError):
    """Nothing can be committed right now."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A request that waits for its commit; its answer is there early when nobody could wait any longer."""

    arrival: Arrival
    answer: asyncio.Future[Verdict]
    until_s: float


class Writer:
    """One thread that commits what requests bring. At most MAX_WAITING wait for it, and none for ever."""

    def __init__(self, engine: Engine, *, commit: Commit = commit_arrivals, within_s: float = COMMIT_WITHIN_S) -> None:
        self._engine = engine
        self._commit = commit
        self._within_s = within_s
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._waiting: dict[_Waiting, None] = {}
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._watch: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to commit, and to watch for what takes too long; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._watch = asyncio.create_task(self._give_up_late_ones())
        self._thread.start()

    async def stop(self) -> None:
        """Commit what waits, if the disk takes it in time, and end."""
        self._queue.put(None)
        if unanswered := [waiting.answer for waiting in self._waiting]:
            await asyncio.wait(unanswered, timeout=STOP_WITHIN_S)
        if self._watch is not None:
            self._watch.cancel()

    async def keep(self, arrival: Arrival) -> Link:
        """Return its link when the challenge is on disk.

        Raises DuplicateChallenge or NonceUsed, and StoreUnavailable when it is not known to be kept: the sender then
        tries again, and hears 409 if it was.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise StoreUnavailable("more challenges arrive than can be written; try again")
        assert self._loop is not None, "the writer was started"
        waiting = _Waiting(arrival, self._loop.create_future(), self._loop.time() + self._within_s)
        self._waiting[waiting] = None
        self._queue.put(waiting)
        try:
            verdict = await waiting.answer
        finally:
            del self._waiting[waiting]
        if isinstance(verdict, StoreError):
            raise verdict
        return verdict

    def _work(self) -> None:
        """In the thread: commit whoever waits, until told to end."""
        ended = False
        while not ended:
            first = self._queue.get()
            group, ended = self._group(first)
            self._answer(group, self._committed([waiting.arrival for waiting in group]))

    def _group(self, first: _Waiting | None) -> tuple[list[_Waiting], bool]:
        """Whoever waits already and was not answered yet, and whether nobody comes after them."""
        group: list[_Waiting] = []
        waiting = first
        while waiting is not None:
            if not waiting.answer.done():
                group.append(waiting)
            if len(group) == MAX_GROUP:
                return group, False
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _answer(self, group: Sequence[_Waiting], verdicts: Sequence[Verdict]) -> None:
        """Answer all of a group on the event loop, in one step."""

        def answer() -> None:
            for waiting, verdict in zip(group, verdicts, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(verdict)

        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(answer)
        except RuntimeError:
            logger.warning("%d challenges were committed after the server had stopped", len(group))

    def _committed(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        """A verdict for each, whatever happens; in the thread."""
        if not arrivals:
            return []
        try:
            return self._commit(self._engine, arrivals)
        except DBAPIError as error:
            if not isinstance(error, DataError | IntegrityError | ProgrammingError):
                logger.warning("%d challenges could not be committed: %s", len(arrivals), error.orig)
                return [StoreUnavailable("the store cannot be written; try again")] * len(arrivals)
            return self._one_by_one(arrivals, error)
        except Exception as error:  # what one of them brings about must not cost the others
            return self._one_by_one(arrivals, error)

    def _one_by_one(self, arrivals: Sequence[Arrival], error: Exception) -> list[Verdict]:
        if len(arrivals) > 1:
            return [self._committed([arrival])[0] for arrival in arrivals]
        logger.error("challenge %r could not be committed", arrivals[0].id, exc_info=error)
        return [StoreUnavailable(f"the challenge could not be written ({type(error).__name__})")]

    async def _give_up_late_ones(self) -> None:
        """One timer for all, as one for each request would cost more than the request."""
        while True:
            await asyncio.sleep(min(WATCH_EVERY_S, self._within_s))
            now_s = asyncio.get_running_loop().time()
            for waiting in self._waiting:
                if waiting.until_s <= now_s and not waiting.answer.done():
                    said = f"the store did not take the challenge within {self._within_s:g} s; try again"
                    waiting.answer.set_result(StoreUnavailable(said))
