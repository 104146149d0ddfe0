"""Puts canaries in among the challenges that are pushed, through the same intake: docs/operating.md#canaries."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random, SystemRandom

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from loosh_pipeline.canaries.disguise import in_disguise
from loosh_pipeline.canaries.questions import Question, read_questions
from loosh_pipeline.canaries.timing import Timing
from loosh_pipeline.requests import LIMITS, NO_LIMITS, ChallengeRequest
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import Canaries, CanaryMark

logger = logging.getLogger(__name__)

LIKE_ONE_OF = 50
"""How many of the challenges that were pushed last a canary may be made after."""
LATELY = timedelta(hours=6)

Take = Callable[[ChallengeRequest, CanaryMark], Awaitable[object]]


class CanarySource:
    """Hears of every challenge that is pushed, and has a canary taken after some of them; on the event loop.

    What waits to be put in when the process ends is not put in: there are others.
    """

    def __init__(self, questions: Sequence[Question], rate: float, kept: Canaries, draw: Random | None = None) -> None:
        self._draw = draw or SystemRandom()
        self._questions, self._kept = questions, kept
        self._timing = Timing(rate, self._draw)
        self._waiting: set[asyncio.Task[None]] = set()

    @classmethod
    def of(cls, settings: Settings, kept: Canaries) -> CanarySource | None:
        """None where none are wanted. Raises ConfigError for a file that cannot be used."""
        if not settings.canary_rate or settings.canaries_path is None:
            return None
        return cls(read_questions(settings.canaries_path), settings.canary_rate, kept)

    def pushed(self, take: Take) -> None:
        """A challenge was pushed, and is on disk."""
        after_s = self._timing.pushed(time.monotonic())
        if after_s is not None:
            task = asyncio.create_task(self._put_in(after_s, take))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    def stop(self) -> None:
        for task in self._waiting:
            task.cancel()

    async def _put_in(self, after_s: float, take: Take) -> None:
        await asyncio.sleep(after_s)
        try:
            made = await asyncio.to_thread(self.make, datetime.now(UTC))
            if made is not None:
                await take(*made)
        except HTTPException as refusal:  # none is taken now, of others neither
            logger.info("no canary was put in: %s", refusal.detail)
        except (SQLAlchemyError, ValidationError) as error:
            logger.warning("no canary was put in: %s", error)

    def make(self, now: datetime) -> tuple[ChallengeRequest, CanaryMark] | None:
        """One of the questions that were put in least often, like one of the challenges pushed lately; None without."""
        lately = self._kept.pushed_lately(now - LATELY, LIKE_ONE_OF)
        if not lately:
            return None
        like, received_at = self._draw.choice(lately)
        question = self._next()
        body = in_disguise(question, like, received_at, now, self._draw)
        request = ChallengeRequest.model_validate(body, context={LIMITS: NO_LIMITS})
        return request, CanaryMark(question.accepted, question.digest)

    def _next(self) -> Question:
        asked = self._kept.asked_of({each.digest for each in self._questions})
        fewest = min(asked.get(each.digest, 0) for each in self._questions)
        return self._draw.choice([each for each in self._questions if asked.get(each.digest, 0) == fewest])
