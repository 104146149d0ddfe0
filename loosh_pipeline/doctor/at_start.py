"""What `loosh up` looks at: what keeps it from starting before it tries, and what is wrong elsewhere once it runs."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from loosh_pipeline.doctor.disks import unwritable_places
from loosh_pipeline.doctor.finding import Finding, Verdict
from loosh_pipeline.doctor.ports import ports
from loosh_pipeline.errors import ServiceError
from loosh_pipeline.lock import runs_in
from loosh_pipeline.log_files import Say
from loosh_pipeline.settings import Settings
from loosh_pipeline.supervisor import end_with

ELSEWHERE: Mapping[str, tuple[Verdict, ...]] = {
    **dict.fromkeys(("names", "broker", "clock", "chain", "registration", "permit", "challenge API"), ("wrong",)),
    "llm": ("wrong", "look"),
}
"""What a validator that just started is told of, and from which verdict on; its own parts may still be starting."""
COMMAND = (sys.executable, "-m", "loosh_pipeline.cli", "doctor", "--json")


def check_obstacles(settings: Settings) -> None:
    """Raises ServiceError that names each port that is taken and each place that cannot be written.

    Where another validator holds the directory, that is what is wrong, and said by the lock.
    """
    if runs_in(settings.home):
        return
    wrong = [each for each in (*unwritable_places(settings), *ports(settings, runs=False)) if each.verdict == "wrong"]
    if wrong:
        raise ServiceError("the validator cannot start: " + ". ".join(f"{each.said}; {each.todo}" for each in wrong))


class LookAround:
    """`loosh doctor` in a process of its own, which loads what the one that runs for months can do without."""

    def __init__(self, say: Say, command: tuple[str, ...] = COMMAND) -> None:
        self._say = say
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._telling: threading.Thread | None = None

    def begin(self) -> None:
        """Call it from the main thread: the process dies with the thread that started it."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=functools.partial(end_with, os.getpid()),
        )
        self._telling = threading.Thread(target=self._tell, args=(self._process,), daemon=True)
        self._telling.start()

    def end(self) -> None:
        """Leave nothing behind, whether or not it has said something."""
        if self._process is not None:
            self._process.kill()
        self.wait()

    def wait(self) -> None:
        """Until everything is told that it found."""
        if self._telling is not None:
            self._telling.join()

    def _tell(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            told = output.read()
        if process.wait() not in (0, 1):  # it was ended with the validator
            return
        try:
            found = [Finding(**each) for each in json.loads(told)]
        except (ValueError, TypeError):  # it crashed, and its own words are not ours to repeat here
            self._say("`loosh doctor` failed, so that nothing is known of what is around; run it to see why")
            return
        for each in found:
            if each.subject in ELSEWHERE and each.verdict in ELSEWHERE[each.subject]:
                self._say(f"{each.subject}: {each.said}; {each.todo}")


@contextmanager
def looking_around(say: Say) -> Iterator[LookAround]:
    """Whoever begins it within the block, it ends with that."""
    around = LookAround(say)
    try:
        yield around
    finally:
        around.end()
