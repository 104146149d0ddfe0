"""Processes that score batches beside this one: ordinary children that speak over their pipes.

Not those of `multiprocessing`: the processes that execute runs are daemons to it, and may have no children. They give
way to whatever else the machine does, and end with whoever started them, however that ends.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

from loosh_pipeline.errors import ServiceError
from loosh_pipeline.rescoring.room import most_processes
from loosh_pipeline.rescoring.rounds import StoredRound, Unscorable
from loosh_pipeline.rescoring.scoring import ScoredBatch, joined, not_scored, score_batch
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.contexts import Contexts
from loosh_pipeline.store.tables import Tables

NICENESS = 10
DIES_FIRST = 800
"""Of 1,000: what a machine without memory ends is one of these processes, and not the one that waits for them."""
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")}
END_WITHIN_S = 30.0
DIED = "a process that scores died over it"


class _Died(Exception):
    """A process ended over rounds; says with what."""


class ScoringProcesses:
    """Processes that score under a profile, each with a thread here that waits for it; started as batches come.

    `count`: so many at most; as many as there is room for where it is not said.
    """

    def __init__(self, tables_root: str, profile: ScoringProfile, count: int | None = None) -> None:
        self._told = tables_root, profile
        self.count = most_processes() if count is None else count
        self._own = threading.local()
        self._lock = threading.Lock()
        self._ending = False
        self.started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="rescoring")
        return self

    def submit(self, rounds: Sequence[StoredRound]) -> Future[ScoredBatch]:
        """Have rounds scored. One over which a process dies twice cannot be scored, and costs no other.

        The result raises ServiceError where no process can be started, or none lives through any of the rounds.
        """
        return self._threads.submit(self._score, list(rounds))

    def _score(self, rounds: list[StoredRound]) -> ScoredBatch:
        with suppress(_Died):
            return self._ask(rounds)
        found = [self._alone(each) for each in rounds]
        if len(rounds) > 1 and all(each.unscorable and each.unscorable[0].kind == DIED for each in found):
            raise ServiceError(f"{found[0].unscorable[0].reason}, and over the {len(rounds) - 1} rounds after it")
        return joined(found)

    def _alone(self, round_: StoredRound) -> ScoredBatch:
        try:
            return self._ask([round_])
        except _Died as died:
            reason = f"{DIED} ({died}); is there memory left? The log of the worker may say more"
            return not_scored(Unscorable(round_.id, reason, DIED))

    def _ask(self, rounds: list[StoredRound]) -> ScoredBatch:
        """Have this thread's process score. Raises _Died, and takes another the next time."""
        process = self._process()
        try:
            _send(_pipe(process.stdin), rounds)
            found = pickle.load(_pipe(process.stdout))
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self._own.process = None
            process.kill()
            raise _Died(f"exit status {process.wait()}") from error
        assert isinstance(found, ScoredBatch)
        return found

    def _process(self) -> subprocess.Popen[bytes]:
        if (process := getattr(self._own, "process", None)) is None:
            process = self._own.process = self._start()
            with suppress(OSError):  # it died at once; the first question says so
                _send(_pipe(process.stdin), self._told)
        found: subprocess.Popen[bytes] = process
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ending:
                raise ServiceError("no further process is started, as scoring ends")
            command = [sys.executable, "-m", "loosh_pipeline.rescoring"]
            environment = {**os.environ, **ONE_THREAD}
            try:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            except OSError as error:
                raise ServiceError(f"a process that scores cannot be started: {error}") from error
            self.started.append(process)
            return process

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:  # a batch that nobody waits for must not be waited for
            with self._lock:
                self._ending = True
                for process in self.started:
                    process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self.started:
            with suppress(OSError):  # what a dead process was not sent any more
                _pipe(process.stdin).close()
        for process in self.started:
            try:
                process.wait(END_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _pipe(process.stdout).close()


def _send(pipe: IO[bytes], message: object) -> None:
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def offer_to_die_first() -> None:
    """Be what the kernel ends when there is no memory left, where it can be told."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(DIES_FIRST))


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """What such a process does: score what it is sent until nothing more comes."""
    root, profile = pickle.load(asked)
    contexts = Contexts(Tables(root))
    while True:
        try:
            rounds = pickle.load(asked)
        except EOFError:
            return
        _send(answers, score_batch(rounds, contexts.at, profile))
