"""Which texts the model's threads run next: those of all requests that wait, in batches of one width.

A thread takes a text of the request whose turn it is and fills the batch with texts of that width, its own and then
those of others. Requests take turns by what they have been given, so that a long one holds nobody up; within its turn
a request has its widest texts run first, so that no thread is left alone with them at the end.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from loosh_pipeline.embedding.port import Piece, Rows, ServableEmbedder
from loosh_pipeline.errors import EmbedderError, ModelError

log = logging.getLogger(__name__)

GATHER_S = 0.002
"""How long a request waits for others; making tokens of a challenge's texts takes longer than that anyway."""
TURN_TOKENS = 8192
"""Padded tokens that a request is given before the others have their turn: about a challenge of ten miners."""
PREPARED_AT_ONCE, PREPARED_AHEAD = 64, 256
"""Texts of a request that a thread makes tokens of at a time; and how many, of all requests, batches are made of."""
PROBE = "sky"
"""What any working model embeds: when it fails too, it was not the text."""
JOINED_WITHIN_S = 5.0


@dataclass(eq=False, slots=True)
class _Text:
    """A text, and each place (job, row) that waits for its vector. `due` until a thread takes it or nobody wants it."""

    text: str
    places: list[tuple[Job, int]] = field(default_factory=list)
    piece: Piece | None = None
    due: bool = True


@dataclass(eq=False, slots=True)
class Job:
    """One request. Its future gives its vectors, and the tokens they are of.

    It is served from `eligible_s` (monotonic) on; in turn `turn`, which grows from `began` with what it was `given`.
    `unread` are texts still to be made tokens of, `ready` a heap of those that may be run, the widest first.
    """

    number: int
    chars: int
    missing: int
    eligible_s: float
    began: int
    rows: Rows
    turn: int = field(init=False)
    given: int = 0
    tokens: int = 0
    texts: list[_Text] = field(default_factory=list)
    unread: deque[_Text] = field(default_factory=deque)
    ready: list[tuple[int, int, int, _Text]] = field(default_factory=list)
    done: Future[tuple[Rows, int]] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.turn = self.began
        self.done.set_running_or_notify_cancel()  # so that nobody can cancel it while it is being answered


@dataclass(frozen=True, slots=True)
class Done:
    """What a batcher did. `busy_s`: time of all its threads in the model."""

    batches: int = 0
    texts: int = 0
    chars: int = 0
    busy_s: float = 0.0


class Batcher:
    """Runs a model for many requests at once, on `model.lanes` threads, until `stop`.

    `broken` is done, with the reason, when a thread ended or the model embeds nothing any more; then every request
    that waits has failed, and so does every new one.
    """

    def __init__(self, model: ServableEmbedder, gather_s: float = GATHER_S) -> None:
        self._model = model
        self._gather_s = gather_s
        self._changed = threading.Condition()
        self._jobs: dict[int, Job] = {}
        self._texts: dict[str, _Text] = {}
        self._ready: dict[int, dict[_Text, None]] = {}
        self._numbers = itertools.count()
        self._turn = 0
        self._stopped = False
        self._done_chars, self._busy_s = 0, 0.0
        self._done_texts, self._batches = 0, 0
        self.broken: Future[None] = Future()
        self._threads = [
            threading.Thread(target=self._work, name=f"embedder-{i}", daemon=True) for i in range(model.lanes)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, texts: Sequence[str]) -> Job:
        """A job for one text or more; its future fails with EmbedderError when they cannot be embedded."""
        with self._changed:
            if self._stopped or self.broken.done():
                raise EmbedderError("the embedder is stopping; ask again in a few seconds")
            job = Job(
                number=next(self._numbers),
                chars=sum(map(len, texts)),
                missing=len(texts),
                eligible_s=time.monotonic() + self._gather_s,
                began=self._turn,
                rows=np.zeros((len(texts), self._model.dim), dtype=np.float32),
            )
            self._jobs[job.number] = job
            for row, text in enumerate(texts):
                self._want(text, job, row)
            self._changed.notify_all()
        return job

    def drop(self, job: Job) -> None:
        """Forget a job whose client has gone: what nobody else waits for is not run."""
        with self._changed:
            self._forget(job)

    def waiting(self) -> tuple[int, int, int]:
        """Requests that wait for vectors, texts of theirs, and characters."""
        with self._changed:
            jobs = list(self._jobs.values())
        return len(jobs), sum(job.missing for job in jobs), sum(job.chars for job in jobs)

    def seconds_for(self, chars: int) -> float:
        """How long so many characters take, by what was embedded so far; 1.0 before anything was."""
        with self._changed:
            return chars * self._busy_s / (len(self._threads) * self._done_chars) if self._done_chars else 1.0

    def done(self) -> Done:
        """What was embedded since the start."""
        with self._changed:
            return Done(self._batches, self._done_texts, self._done_chars, self._busy_s)

    def stop(self) -> None:
        """End the threads after their batch, and fail what waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(JOINED_WITHIN_S)
        self._fail_all(EmbedderError("the embedder was stopped"))

    # --- what a thread does ----------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while (todo := self._next()) is not None:
                todo()
        except BaseException as error:  # whatever ends a thread must be seen: nobody else takes its work
            log.exception("a thread of the embedder ended")
            self._break(error)

    def _next(self) -> Callable[[], None] | None:
        """What to do next, waited for; None when there is nothing to do ever again."""
        with self._changed:
            while not (self._stopped or self.broken.done()):
                now_s = time.monotonic()
                later_s: float | None = None
                line = sorted(self._jobs.values(), key=lambda job: (job.turn, job.number))
                few = sum(map(len, self._ready.values())) < PREPARED_AHEAD
                if few and (unread := next((job for job in line if job.unread), None)):
                    return partial(self._prepare, self._unread(unread))
                for job in line:
                    if not self._seeds(job):
                        if job.unread:
                            return partial(self._prepare, self._unread(job))
                    elif now_s >= job.eligible_s:
                        return partial(self._run, self._take(job))
                    else:
                        later_s = min(later_s or self._gather_s, job.eligible_s - now_s)
                self._changed.wait(later_s)
        return None

    def _prepare(self, texts: Sequence[_Text]) -> None:
        """Make tokens of texts, and let the threads know."""
        try:
            pieces = self._model.prepare([each.text for each in texts])
        except Exception as error:  # whatever a tokenizer raises concerns the requests of that text alone
            self._each_alone(texts, self._prepare, error)
            return
        with self._changed:
            for each, piece in zip(texts, pieces, strict=True):
                if each.piece is None and each.places:
                    each.piece = piece
                    self._ready.setdefault(piece.width, {})[each] = None
                    for job in dict.fromkeys(job for job, _ in each.places):
                        self._offer(job, each)
            self._changed.notify_all()

    def _run(self, batch: Sequence[_Text]) -> None:
        started_s = time.monotonic()
        try:
            rows = self._model.run([each.piece for each in batch if each.piece is not None])
        except Exception as error:  # whatever a runtime raises concerns the requests of that text alone
            self._each_alone(batch, self._run, error)
            return
        with self._changed:
            self._busy_s += time.monotonic() - started_s
            self._done_chars += sum(len(each.text) for each in batch)
            self._done_texts += len(batch)
            self._batches += 1
            for each, row in zip(batch, rows, strict=True):
                self._deliver(each, row)

    def _each_alone(self, texts: Sequence[_Text], again: Callable[[Sequence[_Text]], None], error: Exception) -> None:
        """After a failure: each text by itself, so that the others of its batch do not suffer for it."""
        if len(texts) > 1:
            for each in texts:
                if self._still_wanted(each):
                    again([each])
            return
        log.warning("a text of %d characters could not be embedded: %s", len(texts[0].text), error)
        self._model.embed([PROBE])  # what this raises ends the thread, and is told as the reason
        failed = EmbedderError(f"a text of {len(texts[0].text)} characters could not be embedded: {error}")
        with self._changed:
            for job in dict.fromkeys(job for job, _ in texts[0].places):
                self._fail(job, failed)
            self._remove(texts[0])

    # --- the state, under the lock ---------------------------------------------------------------------------

    def _want(self, text: str, job: Job, row: int) -> None:
        wanted = self._texts.get(text)
        if wanted is None:
            wanted = self._texts[text] = _Text(text)
        known = bool(wanted.places) and wanted.places[-1][0] is job
        wanted.places.append((job, row))
        if known:
            return
        job.texts.append(wanted)
        if wanted.piece is None:
            job.unread.append(wanted)
        elif wanted.due:
            self._offer(job, wanted)

    def _still_wanted(self, text: _Text) -> bool:
        """Whether anybody waits for a text that was taken; when nobody does, who asks for it later begins anew."""
        with self._changed:
            if not text.places:
                self._remove(text)
            return bool(text.places)

    def _offer(self, job: Job, text: _Text) -> None:
        assert text.piece is not None
        heapq.heappush(job.ready, (-text.piece.width, len(job.ready), id(text), text))

    def _unread(self, job: Job) -> list[_Text]:
        part = [job.unread.popleft() for _ in range(min(len(job.unread), PREPARED_AT_ONCE))]
        return [each for each in part if each.piece is None and each.places]

    def _seeds(self, job: Job) -> bool:
        """Whether a text of the job may be run now: its widest is then at the top."""
        while job.ready and not job.ready[0][-1].due:
            heapq.heappop(job.ready)
        return bool(job.ready)

    def _take(self, job: Job) -> list[_Text]:
        """The widest text of a job, with as many of that width as fit, at the expense of the job's turn."""
        width = -job.ready[0][0]
        room = max(1, self._model.batch_tokens // width)
        batch: list[_Text] = []
        while len(batch) < room and self._seeds(job) and -job.ready[0][0] == width:
            batch.append(self._taken(heapq.heappop(job.ready)[-1]))
        others = list(itertools.islice(self._ready.get(width, ()), room - len(batch)))
        batch += [self._taken(each) for each in others]
        self._turn = max(self._turn, job.turn)
        job.given += width * len(batch)
        job.turn = job.began + job.given // TURN_TOKENS
        return batch

    def _taken(self, text: _Text) -> _Text:
        """Mark a text as being run."""
        assert text.piece is not None
        text.due = False
        same = self._ready[text.piece.width]
        del same[text]
        if not same:
            del self._ready[text.piece.width]
        return text

    def _deliver(self, text: _Text, row: Rows) -> None:
        self._remove(text)
        places, text.places = text.places, []  # a job's vectors are freed with it, not when cycles are looked for
        for job, i in places:
            job.rows[i] = row
            job.tokens += text.piece.tokens if text.piece else 0
            job.missing -= 1
            if not job.missing:
                del self._jobs[job.number]
                job.done.set_result((job.rows, job.tokens))

    def _remove(self, text: _Text) -> None:
        if self._texts.get(text.text) is text:
            del self._texts[text.text]

    def _fail(self, job: Job, error: EmbedderError) -> None:
        self._forget(job)
        job.done.set_exception(error)

    def _forget(self, job: Job) -> None:
        """Take a job out; a text that nobody else waits for is not run, unless it is just being run."""
        if self._jobs.pop(job.number, None) is None:
            return
        for each in job.texts:
            each.places = [place for place in each.places if place[0] is not job]
            if each.places or not each.due:
                continue
            self._remove(each)
            if each.piece is not None:
                self._taken(each)

    def _break(self, error: BaseException) -> None:
        with self._changed:
            if not self.broken.done():
                self.broken.set_exception(ModelError(f"the embedder's thread ended: {error!r}"))
            self._fail_all(EmbedderError(f"the embedder's thread ended: {error!r}"))
            self._changed.notify_all()

    def _fail_all(self, error: EmbedderError) -> None:
        with self._changed:
            for job in list(self._jobs.values()):
                self._fail(job, error)
