"""`python -m tests.store.killed TABLES`: compact a day again and again, and be killed one step later each time; a line
of JSON says what is read then, and once a compaction went through. Steps are files and directories that are opened,
synced, renamed, linked, removed.

Polars and Arrow start threads when they are used, which no fork survives: so whatever uses them does so in a process of
its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loosh_pipeline.store.compaction_plan import KEPT
from loosh_pipeline.store.tables import Tables
from tests.store.compacted import LATER, compact, everything, in_sql, parts

STEPS = ("open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.rmdir")
BEGUN = LATER + 10 * KEPT
"""After what lies there already."""
MOST = 1000


def main(kept: Path) -> None:
    trial = kept.with_name("trial")
    for number in range(MOST):
        shutil.copytree(kept, trial)
        killed = _apart(lambda number=number: _compact(trial, number))
        print(json.dumps(_told(trial)), flush=True)
        shutil.rmtree(trial)
        if not killed:
            return
    raise SystemExit(f"it takes more than {MOST} steps")


def _compact(root: Path, number: int) -> None:
    """Pack and clear, and be killed before a step."""
    seen, fsync = 0, os.fsync

    def step() -> None:
        nonlocal seen
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    def hook(event: str, arguments: Any) -> None:
        if event in STEPS and str(root) in str(arguments[0]):
            step()

    def synced(descriptor: int) -> None:
        step()
        fsync(descriptor)

    sys.addaudithook(hook)
    os.fsync = synced
    compact(Tables(str(root)), BEGUN)
    compact(Tables(str(root)), BEGUN + KEPT)


def _told(root: Path) -> dict[str, Any]:
    """What is read now, and when a compaction went through."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        tables = Tables(str(root))
        told: dict[str, Any] = {"killed": read(tables)}
        turns = 0
        while compact(tables, BEGUN + (turns + 2) * KEPT).left and turns < 5:
            turns += 1
        told |= {
            "done": read(tables),
            "left": sorted(each.name for each in root.rglob("*/day=*/*")),
            "parts": parts(tables),
        }
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    found: dict[str, Any] = json.loads(said)
    return found


def read(tables: Tables) -> str:
    """A digest of all that readers say."""
    return hashlib.sha256(repr((everything(tables), in_sql(tables))).encode()).hexdigest()


def _apart(do: Callable[[], object]) -> bool:
    """Whether it was killed."""
    if (pid := os.fork()) == 0:
        do()
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("it failed")
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
