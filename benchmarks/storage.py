"""What Dagster's own part of a run costs on each storage: `python -m benchmarks.storage --json`.

Runs of six assets that do nothing, one after the other, in one process as in a worker: on the SQLite storage of one
machine and, with `--postgres URL` of an empty database, on the Postgres storage of several, stock and ours. Processor
time is that of this process and of all processes called `postgres` on this machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._cli.api import _execute_run_command_body
from dagster._core.definitions.reconstruct import ReconstructableRepository

from benchmarks.figures import Load

RUNS, QUICK_RUNS = 60, 12
ASSETS = 6
JOB = "nothing"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _asset(number: int) -> dg.AssetsDefinition:
    @dg.asset(name=f"asset_{number}", deps=[f"asset_{number - 1}"] if number else [])
    def nothing() -> None:
        """Nothing to do."""

    return nothing


defs = dg.Definitions(
    assets=[_asset(number) for number in range(ASSETS)],
    jobs=[dg.define_asset_job(JOB, executor_def=dg.in_process_executor)],
)


def storages(home: Path, postgres: str | None) -> Mapping[str, Mapping[str, Any]]:
    """What an instance's yaml says of each storage, by the name of its figures."""
    ours = "loosh_pipeline.workers"
    found = {"sqlite": _custom(f"{ours}.storage", "WarmSqliteStorage", base_dir=str(home))}
    if postgres is not None:
        found["postgres"] = _custom(f"{ours}.postgres", "WarmPostgresStorage", postgres_url=postgres)
        found["postgres_stock"] = _custom("dagster_postgres", "DagsterPostgresStorage", postgres_url=postgres)
    return found


def _custom(module: str, name: str, **config: str) -> Mapping[str, Any]:
    return {"custom": {"module": module, "class": name, "config": config}}


@contextmanager
def instance_on(storage: Mapping[str, Any]) -> Iterator[dg.DagsterInstance]:
    with tempfile.TemporaryDirectory() as home:
        logs = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
        told = {"telemetry": {"enabled": False}, "storage": storage, "compute_logs": logs}
        (Path(home) / "dagster.yaml").write_text(yaml.safe_dump(told))
        with dg.DagsterInstance.from_config(home) as instance:
            yield instance


def measure(storage: Mapping[str, Any], runs: int) -> Mapping[str, float]:
    """Seconds a run, the first not counted: of processor time here and in the server, and of the wall."""
    job = ReconstructableRepository.for_module("benchmarks.storage", "defs").get_reconstructable_job(JOB)
    with instance_on(storage) as instance:
        _run(instance, job)
        began = time.process_time(), server_cpu_s(), time.monotonic()
        for _ in range(runs):
            _run(instance, job)
        ended = time.process_time(), server_cpu_s(), time.monotonic()
    spent = [(after - before) / runs for before, after in zip(began, ended, strict=True)]
    return dict(zip(("cpu_s", "server_cpu_s", "wall_s"), (round(each, 4) for each in spent), strict=True))


def _run(instance: dg.DagsterInstance, job: Any) -> None:
    run = instance.create_run_for_job(job.get_definition())
    instance.run_storage.delete_run(run.run_id)
    instance.run_storage.add_run(run._replace(job_code_origin=job.get_python_origin()))
    code = _execute_run_command_body(
        run.run_id, instance, write_stream_fn=lambda _: None, set_exit_code_on_failure=True
    )
    assert code == 0, f"run {run.run_id} failed"
    if (release := getattr(instance.event_log_storage, "release", None)) is not None:
        release(run.run_id)


def server_cpu_s() -> float:
    """Processor time of all processes called `postgres`, and of those of them that have ended."""
    total = 0
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            name, _, fields = (directory / "stat").read_text().partition("(")[2].rpartition(")")
            total += sum(map(int, fields.split()[11:15])) if name == "postgres" else 0
        except OSError:
            continue  # it ended while we looked
    return total / TICKS_PER_S


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage", description=__doc__)
    parser.add_argument("--postgres", metavar="URL", help="of an empty database")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} runs in place of {RUNS}")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    given = parser.parse_args()
    logging.disable(logging.INFO)
    load, runs = Load(), QUICK_RUNS if given.quick else RUNS
    figures: dict[str, Any] = {"quick": given.quick, "runs": runs}
    with tempfile.TemporaryDirectory() as home:
        for name, storage in storages(Path(home), given.postgres).items():
            figures[name] = measure(storage, runs)
            load.note()
    figures |= load.figures()
    if given.json:
        print(json.dumps(figures))
        return
    for name, found in figures.items():
        print(f"{name:16} {found}")


if __name__ == "__main__":
    main()
