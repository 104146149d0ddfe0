"""`python -m tests.retention.killed HOME DAYS`: prune again and again, so many days from now, and be killed one step
later each time; a line of JSON says what each left, and what the next slice then made of it. HOME is LOOSH_HOME.

Steps are statements of any database and deletions of files.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import Engine, event

from loosh_pipeline.orchestrator import CHALLENGES
from loosh_pipeline.retention.pruning import Pruner
from loosh_pipeline.store.inbox import Inbox
from tests.retention.conftest import AGES, opened, rows_of, run_files

MOST = 400


def main(home: Path, days: float) -> None:
    now = datetime.now(UTC) + timedelta(days=days)
    for number in range(MOST):
        trial = home.with_name("trial")
        shutil.copytree(home, trial)
        killed = _killed_at(number, lambda trial=trial: _prune(trial, now))
        told = {"killed": killed, "left": _in_process(lambda trial=trial: _looked_at(trial))}
        _in_process(lambda trial=trial: _prune(trial, now))
        told["rows"] = {name: repr(rows) for name, rows in rows_of(trial / "dagster_home").items()}
        told["files"] = sorted(run_files(trial / "dagster_home"))
        told["pictures"] = sorted(os.listdir(trial / "heatmaps"))
        print(json.dumps(told), flush=True)
        shutil.rmtree(trial)
        if not killed:
            return
    raise SystemExit(f"it takes more than {MOST} steps")


def _prune(home: Path, now: datetime) -> None:
    with opened(home / "dagster_home") as instance:
        Pruner(instance, Inbox.open(f"sqlite:///{home}/validator.db"), home / "heatmaps", AGES).slice(now)


def _looked_at(home: Path) -> dict[str, Any]:
    """What pages would read of what is left, all of it."""
    with opened(home / "dagster_home") as instance:
        runs = [run.run_id for run in instance.get_runs()]
        events = {run_id: len(instance.all_logs(run_id)) for run_id in runs}
        shown = instance.get_dynamic_partitions(CHALLENGES)
        pages = {
            key.to_user_string(): [
                instance.get_latest_materialization_event(key) is not None,
                sorted(instance.get_materialized_partitions(key)),
            ]
            for key in instance.all_asset_keys()
        }
        materialized = {
            record.run_id
            for key in instance.all_asset_keys()
            for record in instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=999).records
        }
    stats = Inbox.open(f"sqlite:///{home}/validator.db").stats()
    lost = sorted(run_id for run_id in materialized if run_id and run_id not in runs)
    return {"shown": shown, "events": events, "pages": pages, "of_no_run": lost, "challenges": stats.total}


def _killed_at(number: int, work: Callable[[], object]) -> bool:
    """Whether it came to step `number`, and was killed there."""
    pid = os.fork()
    if pid == 0:
        _kill_before_step(number)
        work()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"step {number}: it failed with {status}")
    return status != 0


def _kill_before_step(number: int) -> None:
    steps = iter(range(number))

    def step() -> None:
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "before_cursor_execute")
    def on_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().startswith(("SELECT", "PRAGMA")):
            step()

    @event.listens_for(Engine, "commit")
    def on_commit(_connection: Any) -> None:
        step()

    sys.addaudithook(lambda name, _: step() if name == "os.remove" else None)


def _in_process(work: Callable[[], Any]) -> Any:
    """The result of what is done in a process of its own: this one opens no database, as it forks."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as file:
            json.dump(work(), file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        content = file.read()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        raise SystemExit("looking at what is left, or going on, failed")
    return json.loads(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
