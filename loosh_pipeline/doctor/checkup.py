"""Running checks side by side, each within the time of all: one that hangs or fails costs its own line alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from loosh_pipeline.doctor.finding import Finding, wrong

WITHIN_S = 17.0
"""For all checks together; each network look has less."""
LOOKING = "doctor-looking"
"""Name of every thread that looks."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """`look` finds what there is to say of a subject. `needed`: the validator cannot work without what it asks, so
    that no answer in time is wrong.
    """

    subject: str
    look: Callable[[], Iterable[Finding]]
    needed: bool = False


def hangs() -> bool:
    """Whether something that was begun in a thread has not ended."""
    return any(each.name == LOOKING for each in threading.enumerate())


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Its result, when there is one. The thread keeps no process from ending: what hangs in it is left behind."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=LOOKING, daemon=True).start()
    return future


def examined(checks: Sequence[Check], within_s: float = WITHIN_S) -> list[Finding]:
    """What all checks say, in their order."""
    until = time.monotonic() + within_s
    looking = [in_thread(lambda check=check: list(check.look())) for check in checks]  # type: ignore[misc]
    return [
        finding
        for check, future in zip(checks, looking, strict=True)
        for finding in _outcome(check, future, until, within_s)
    ]


def _outcome(check: Check, future: Future[list[Finding]], until: float, within_s: float) -> list[Finding]:
    try:
        return future.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        said = f"not known within {within_s:g} s"
        todo = "run `loosh doctor` again; if that repeats, look at what it asks by hand"
        return [Finding(check.subject, "wrong" if check.needed else "look", said, todo)]
    except Exception as error:
        said = f"this check failed itself: {type(error).__name__}: {error}"
        return [wrong(check.subject, said, "report it with this line; the other lines stand")]
