"""`python -m tests.rescoring.killed ROOT NUMBER`: score a day again, in steps of some rounds with a process beside this
one, and be killed before so many files are written. Says by which process, so that somebody can see that it ends too.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from loosh_pipeline.rescoring import bulk
from loosh_pipeline.rescoring.bulk import Rescoring
from loosh_pipeline.rescoring.processes import ScoringProcesses
from loosh_pipeline.rescoring.rounds import AT_ONCE, of_day
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.objects import Objects
from loosh_pipeline.store.tables import Tables
from tests.rescoring.kept import DAY, ROBUST


def main(root: Path, number: int) -> None:
    bulk.KEPT_AT_ONCE = AT_ONCE
    _be_killed_before(number)
    _say_who_starts()
    tables, inbox = Tables(str(root / "tables")), Inbox.open(f"sqlite:///{root}/inbox.db")
    for _ in Rescoring(str(root / "tables"), ROBUST, ROBUST, 1).run(of_day(tables, inbox, DAY)):
        pass
    print("done", flush=True)


def _be_killed_before(number: int) -> None:
    put, written = Objects.put, 0

    def counted(self: Objects, *about: Any, **how: Any) -> bool:
        nonlocal written
        if written == number:
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1
        return put(self, *about, **how)

    Objects.put = counted  # type: ignore[method-assign]


def _say_who_starts() -> None:
    start = ScoringProcesses._start

    def told(self: ScoringProcesses) -> Any:
        process = start(self)
        print(process.pid, flush=True)
        return process

    ScoringProcesses._start = told  # type: ignore[method-assign]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
