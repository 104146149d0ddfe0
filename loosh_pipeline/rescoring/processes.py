"""Processes that score batches beside this one: ordinary children that speak over their pipes.

Not those of `multiprocessing`: the processes that execute runs are daemons to it, and may have no children. They give
way to whatever else the machine does, and end with whoever started them, however that ends.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Self

from loosh_pipeline.errors import ServiceError
from loosh_pipeline.rescoring.rounds import StoredRound
from loosh_pipeline.rescoring.scoring import ScoredBatch, score_batch
from loosh_pipeline.scoring.profiles import ScoringProfile
from loosh_pipeline.store.contexts import Contexts
from loosh_pipeline.store.tables import Tables

NICENESS = 10
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")}
END_WITHIN_S = 30.0


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ScoringProcesses:
    """So many processes that score under a profile, each with a thread here that waits for it."""

    def __init__(self, tables_root: str, profile: ScoringProfile, count: int) -> None:
        self._told = tables_root, profile
        self._count = count
        self._free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(self._count, thread_name_prefix="rescoring")
        for _ in range(self._count):
            process = subprocess.Popen(
                [sys.executable, "-m", "loosh_pipeline.rescoring"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **ONE_THREAD},
            )
            self._started.append(process)
            self._free.put(process)
            _send(_pipe(process.stdin), self._told)
        return self

    def submit(self, rounds: Sequence[StoredRound]) -> Future[ScoredBatch]:
        """Have rounds scored. The result raises ServiceError when the process died over them."""
        return self._threads.submit(self._score, rounds)

    def _score(self, rounds: Sequence[StoredRound]) -> ScoredBatch:
        process = self._free.get()
        try:
            _send(_pipe(process.stdin), list(rounds))
            found = pickle.load(_pipe(process.stdout))
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            names = ", ".join(each.id for each in rounds[:3])
            raise ServiceError(
                f"a process that scores ended with {process.wait()} over {len(rounds)} rounds from {names} on; "
                "is there memory left? The log of the worker may say more"
            ) from error
        finally:
            self._free.put(process)
        assert isinstance(found, ScoredBatch)
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:  # a batch that nobody waits for must not be waited for
            for process in self._started:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._started:
            _pipe(process.stdin).close()
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
