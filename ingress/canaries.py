"""Puts canaries in among the challenges that are pushed, through the same intake: docs/operating/canaries.md."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random, SystemRandom

from starlette.exceptions import HTTPException

from ingress.counting import CanaryCounts
from loosh_pipeline.canaries.disguise import fits, in_disguise
from loosh_pipeline.canaries.questions import Question, QuestionFile
from loosh_pipeline.canaries.templates import templates_of
from loosh_pipeline.canaries.timing import TOO_FEW, Timing
from loosh_pipeline.requests import LIMITS, NO_LIMITS, ChallengeRequest
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import LATELY, LIKE_ONE_OF, Canaries, CanaryMark, questions_left

logger = logging.getLogger(__name__)

TOLD_EVERY_S = 3600.0
"""So often at most a reason for which none is put in is said in the log."""
MOST_WAITS = 20

clock = time.monotonic

Take = Callable[[ChallengeRequest, CanaryMark], Awaitable[object]]


class LeftOut(Exception):
    """Why a canary is not put in; `kind` is one of `counting.LEFT_OUT`."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


class CanarySource:
    """Hears of every challenge that is pushed, and has a canary taken after some of them; on the event loop.

    `times`: how often each question is put in. What waits to be put in when the process ends is not put in: there are
    others.
    """

    def __init__(
        self, file: QuestionFile, timing: Timing, kept: Canaries, draw: Random, times: int, counts: CanaryCounts
    ) -> None:
        self._file, self._timing, self._kept, self._draw, self._times = file, timing, kept, draw, times
        self._counts = counts
        self._waiting: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()  # else two would take the same question
        self._told_s: dict[str, float] = {}

    @classmethod
    def of(cls, settings: Settings, kept: Canaries, counts: CanaryCounts) -> CanarySource | None:
        """None where none are wanted. Raises ConfigError for a file that cannot be used."""
        if not settings.canary_rate or settings.canaries_path is None:
            return None
        draw, file = SystemRandom(), QuestionFile(settings.canaries_path)
        return cls(file, Timing(settings.canary_rate, draw), kept, draw, settings.canary_times, counts)

    def pushed(self, take: Take) -> None:
        """A challenge was pushed, and is on disk."""
        after_s = self._timing.pushed(clock())
        if after_s is not None:
            task = asyncio.create_task(self._put_in(after_s, take))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)
        elif (why := self._timing.why_none()) is not None and why != TOO_FEW:
            self._tell("regular", why)

    def stop(self) -> None:
        for task in self._waiting:
            task.cancel()

    async def _put_in(self, after_s: float, take: Take) -> None:
        try:
            await self._wait(after_s)
            async with self._one_at_a_time:
                request, mark = await asyncio.to_thread(self.make, datetime.now(UTC))
                await take(request, mark)
        except LeftOut as reason:
            self._tell(reason.kind, str(reason))
        except HTTPException as refusal:  # the store is away, as for any other
            self._tell("closed", str(refusal.detail))
        except Exception:  # a task of nobody: else it would end without a word
            self._counts.left_out("failed")
            logger.exception("no canary was put in")
        else:
            self._timing.put_in(clock())
            self._counts.put_in.inc()

    async def _wait(self, after_s: float) -> None:
        """Until it is due and no other came just before; not without end where they come all the time."""
        for _ in range(MOST_WAITS):
            await asyncio.sleep(after_s)
            if (after_s := self._timing.to_wait_s(clock())) == 0:
                return
        raise LeftOut("no_room", "others came each time that it was due")

    def _tell(self, kind: str, said: str) -> None:
        self._counts.left_out(kind)
        now_s = clock()
        if now_s - self._told_s.get(kind, -TOLD_EVERY_S) >= TOLD_EVERY_S:
            self._told_s[kind] = now_s
            logger.warning("no canary is put in: %s; docs/operating/canaries.md", said)

    def make(self, now: datetime) -> tuple[ChallengeRequest, CanaryMark]:
        """One of the questions put in least often, like one of the challenges pushed lately. Raises LeftOut."""
        pushed = self._kept.pushed_lately(now - LATELY, LIKE_ONE_OF)
        templates, unfit = templates_of(pushed)
        if not templates:
            raise LeftOut("no_template", "; ".join(f"{count} × {why}" for why, count in unfit.most_common(3)) or "none")
        like = self._draw.choice(templates)
        left = {each: count for each, count in self._left() if fits(each, like)}
        if not left:
            raise LeftOut("no_question", "no question that is left can be asked as this challenge was")
        fewest = min(left.values())
        question = self._draw.choice([each for each, count in left.items() if count == fewest])
        body = in_disguise(question, like, now, self._draw)
        request = ChallengeRequest.model_validate(body, context={LIMITS: NO_LIMITS})
        return request, CanaryMark(question.accepted, question.digest)

    def _left(self) -> list[tuple[Question, int]]:
        """Questions that may be put in still, with how often they were. Raises LeftOut."""
        questions = self._file.questions()
        left = questions_left(questions, self._kept, self._times)
        self._counts.left.set(len(left))
        if not left:
            raise LeftOut("used_up", f"each of {len(questions)} questions was put in as often as CANARY_TIMES says")
        return left
