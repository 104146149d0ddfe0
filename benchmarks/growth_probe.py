"""One validator's retention, ticks and emissions in this process: `python -m benchmarks.growth_probe`.

`benchmarks.growth` starts it with the environment of the validator's own processes, which do not run meanwhile. It
prints one JSON object: what a run of the job `retention` removed, milliseconds of processor time of a tick of each
sensor and schedule, and seconds of a run that materializes `emissions` (medians). The first of each tick and of
emissions is not counted: it opens stores and loads code.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import dagster as dg

from loosh_pipeline.definitions import defs
from loosh_pipeline.orchestrator import RETENTION_JOB

SLICES = 10
REMOVED = ("challenges", "runs", "pictures", "files", "folded", "packed", "took_s")


def cpu_s(call: Callable[[], object], times: int) -> tuple[float, float]:
    """Processor and wall seconds of a call: medians, without the first."""
    call()
    spent, took = [], []
    for _ in range(times):
        gc.collect()
        wall_s, before_s = time.perf_counter(), time.process_time()
        call()
        spent.append(time.process_time() - before_s)
        took.append(time.perf_counter() - wall_s)
    return statistics.median(spent), statistics.median(took)


def tick(instance: dg.DagsterInstance, definition: dg.SensorDefinition | dg.ScheduleDefinition) -> object:
    """Evaluate a sensor or a schedule as the code server does; what it asks for is not done."""
    repository = defs.get_repository_def()
    needed = definition.required_resource_keys
    resources = {name: each for name, each in repository.get_top_level_resources().items() if name in needed}
    if isinstance(definition, dg.SensorDefinition):
        with dg.build_sensor_context(instance=instance, resources=resources) as sensed:
            return definition.evaluate_tick(sensed)
    with dg.build_schedule_context(instance=instance, resources=resources) as scheduled:
        return definition.evaluate_tick(scheduled)


def retention(instance: dg.DagsterInstance) -> dict[str, float]:
    """What slices of retention did, until one had nothing left: counts by what was removed, seconds."""
    job, found = defs.get_repository_def().get_job(RETENTION_JOB), dict[str, float]()
    for _ in range(SLICES):
        result = job.execute_in_process(instance=instance)
        assert result.success, "retention failed; its log is above"
        said: dict[str, Any] = {}
        for event in result.get_asset_materialization_events():
            about = event.materialization.metadata
            said |= {name: value.value for name, value in about.items() if name != "finished"}
            said["unfinished"] = said.get("unfinished", 0) + (about["finished"].value is False)
        found = {name: found.get(name, 0) + said[name] for name in REMOVED} | {"kept_runs": said["kept_runs"]}
        if not said["unfinished"]:
            return found
    raise AssertionError(f"retention was not done after {SLICES} slices, but had removed {found}")


def ticks(instance: dg.DagsterInstance, times: int) -> dict[str, Any]:
    """Milliseconds a tick, by name: processor and wall."""
    repository = defs.get_repository_def()
    found: dict[str, Any] = {}
    for definition in (*repository.sensor_defs, *repository.schedule_defs):
        spent_s, took_s = cpu_s(lambda each=definition: tick(instance, each), times)  # type: ignore[misc]
        found[definition.name] = {"cpu_ms": round(1000 * spent_s, 2), "wall_ms": round(1000 * took_s, 2)}
    return found


def emissions(instance: dg.DagsterInstance, times: int) -> tuple[float, float]:
    """Seconds of a run of `emissions` and its check over what is stored."""
    job = defs.resolve_implicit_global_asset_job_def()

    def run() -> None:
        result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("emissions")])
        assert result.success, "emissions failed; its log is above"

    return cpu_s(run, times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=int, default=15)
    parser.add_argument("--emissions", type=int, default=5)
    chosen = parser.parse_args()
    told = os.dup(1)
    os.dup2(2, 1)  # what else is printed goes to the log
    with dg.DagsterInstance.get() as instance:
        figures: dict[str, Any] = {"retention": retention(instance), "ticks": ticks(instance, chosen.ticks)}
        spent_s, took_s = emissions(instance, chosen.emissions)
        figures |= {"emissions_cpu_s": round(spent_s, 4), "emissions_wall_s": round(took_s, 4)}
    with os.fdopen(told, "w") as out:
        out.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
