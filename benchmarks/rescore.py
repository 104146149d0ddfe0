"""How fast stored challenges are scored again: `python -m benchmarks.rescore [--quick] [--json]`.

Ten thousand stored challenges of seven answers of some 200 words are made of 48 that were embedded by the built-in
model (see `stored_rounds`), as compacted tables of a few days. They are scored twice:

    scoring_per_min    by as many processes as there is room for, without Dagster: read, scored under a parameter
                       that is tried, compared with what paid, and written. Scoring them first by what pays, which gives
                       them something to be compared with, is `first_scoring_per_min`. `scoring_cpu_ms` is the processor
                       time of a challenge: processors that do nothing else score 60,000 a minute through it, each.
    backfill_10k_min   by a running validator, a run a day, as `loosh rescore --since` launches them: from the launch
                       until Dagster shows a materialization of every challenge.

`--quick` takes 1,000 challenges; minutes for 10,000 are then by the rate that was measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.figures import Load, show
from benchmarks.validator import LOOK_EVERY_S, NotMeasured, Validator, running_validator
from loosh_pipeline.devnet.stored_rounds import ASKED, Sample, StoredChallenge, insert_rows, made, samples, store
from loosh_pipeline.embedding.load import load_model
from loosh_pipeline.embedding.model import BUILTIN
from loosh_pipeline.errors import LooshError
from loosh_pipeline.orchestrator import CHALLENGES, PARTITION_TAG, RESCORE_DAY_JOB, RESCORED_DAYS, DagsterApi
from loosh_pipeline.rescoring.bulk import Rescored, Rescoring
from loosh_pipeline.rescoring.room import most_processes
from loosh_pipeline.rescoring.rounds import of_day
from loosh_pipeline.scoring.profiles import ScoringProfile, profile_of
from loosh_pipeline.settings import get_settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import Tables

CHALLENGES_MADE, QUICK_CHALLENGES = 10_000, 1_000
SAMPLES, QUICK_SAMPLES = 48, 12
DAYS, QUICK_DAYS = 4, 2
AGO = timedelta(days=10)
PAYING = "robust"
TRIED, TRIED_LATER = {"power": 5.0}, {"power": 4.0}
PARTITIONS_AT_ONCE = 1_000
LOOKED_AT_EVERY = 500
WITHIN_S = 3_600.0
SHOWN_SQL = """
SELECT count(DISTINCT partition) FROM event_logs
WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key = '["rescored_scores"]'
"""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def history(count: int, days: int, drawn: Sequence[Sample]) -> list[StoredChallenge]:
    """So many challenges, evenly over so many days that are over."""
    start = datetime.combine((datetime.now(UTC) - AGO).date(), datetime.min.time(), UTC)
    return list(made(drawn, range(count), start, timedelta(days=days) / count))


def drawn_samples(count: int) -> list[Sample]:
    settings = get_settings()
    model = load_model(BUILTIN, "auto", settings.embedder_threads, settings.models_root)
    return samples(model, count)


@dataclass(frozen=True, slots=True)
class Speed:
    """Of scoring `count` challenges: how many a minute, and the processor time of each, all processes together."""

    per_min: float
    count: int
    cpu_ms: float


def speed_of(root: Path, days: Iterable[date], profile: ScoringProfile, load: Load) -> Speed:
    """All are compared and written. Raises NotMeasured where one is not scored."""
    inbox, tables = Inbox.open(f"sqlite:///{root}/validator.db"), Tables(str(root / "tables"))
    rescoring = Rescoring(str(root / "tables"), profile, profile_of(PAYING))
    started_s, cpu_s, count = time.perf_counter(), _cpu_s(), 0
    for each in rescoring.run(chain.from_iterable(of_day(tables, inbox, day) for day in days)):
        if not isinstance(each, Rescored):
            raise NotMeasured(f"{each.name} was not scored: {each.reason}")
        count += 1
        if count % LOOKED_AT_EVERY == 0:
            load.note()
    inbox.engine.dispose()
    per_min = count / (time.perf_counter() - started_s) * 60
    return Speed(per_min, count, (_cpu_s() - cpu_s) / count * 1000)


def _cpu_s() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def scoring(root: Path, rounds: Sequence[StoredChallenge], load: Load) -> dict[str, Any]:
    """The figures without Dagster; leaves compacted tables with what paid under `root`."""
    inbox, tables = Inbox.open(f"sqlite:///{root}/validator.db"), Tables(str(root / "tables"))
    store(tables, inbox.engine, rounds)
    inbox.engine.dispose()
    say(f"{len(rounds)} challenges are stored")
    days = sorted({each.key.day for each in rounds})
    first = speed_of(root, days, profile_of(PAYING), load)
    say(f"scored by what pays: {first.per_min:.0f} a minute")
    again = speed_of(root, days, profile_of(PAYING, TRIED), load)
    say(f"scored again: {again.per_min:.0f} a minute")
    vectors = rounds[0].sample.vectors.height
    return {
        "scoring_per_min": round(again.per_min),
        "scoring_cpu_ms": round(again.cpu_ms, 2),
        "scored_challenges": again.count,
        "first_scoring_per_min": round(first.per_min),
        "vectors_per_challenge": vectors,
    }


def backfill(validator: Validator, root: Path, rounds: Sequence[StoredChallenge]) -> dict[str, Any]:
    """The figures through a running validator that has these challenges."""
    shutil.copytree(root / "tables", validator.settings.tables_root, dirs_exist_ok=True)
    insert_rows(validator.inbox.engine, rounds)
    home = validator.settings.home / "dagster_home"
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for start in range(0, len(rounds), PARTITIONS_AT_ONCE):
            instance.add_dynamic_partitions(
                CHALLENGES, [each.id for each in rounds[start : start + PARTITIONS_AT_ONCE]]
            )
    validator.at_rest()
    config = {"ops": {RESCORED_DAYS: {"config": {"profile": PAYING, "parameters": TRIED_LATER}}}}
    log = home / "history" / "runs" / "index.db"
    started_s = time.perf_counter()
    with closing(DagsterApi.at(f"http://127.0.0.1:{validator.settings.dagster_port}")) as dagster:
        days = sorted({each.key.day for each in rounds})
        runs = [dagster.launch(RESCORE_DAY_JOB, {PARTITION_TAG: str(day)}, config) for day in days]
        _await(validator, dagster, runs, log, len(rounds))
    taken_s = time.perf_counter() - started_s
    return {
        "backfill_10k_min": round(taken_s / 60 * 10_000 / len(rounds), 2),
        "measured_challenges": len(rounds),
        "backfill_s": round(taken_s, 1),
        "backfill_runs": len(runs),
    }


def _await(validator: Validator, dagster: DagsterApi, runs: Sequence[str], log: Path, count: int) -> None:
    """Until Dagster shows all of them. Raises NotMeasured when a run fails, or it takes too long."""
    deadline_s = time.monotonic() + WITHIN_S
    while (shown := visible(log)) < count:
        statuses = {run: dagster.run_status(run) for run in runs}
        failed = [run for run, status in statuses.items() if status in ("FAILURE", "CANCELED")]
        if failed or time.monotonic() > deadline_s:
            said = dagster.outcome(failed[0]).said if failed else statuses
            raise NotMeasured(f"{shown} of {count} are shown; {said}\n{validator.report()}")
        validator.check()
        validator.load.note()
        time.sleep(4 * LOOK_EVERY_S)


def visible(log: Path) -> int:
    """Of how many challenges an instance's event log shows that they were scored again."""
    with closing(sqlite3.connect(f"{log.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute(SHOWN_SQL).fetchone()[0])


def measure(count: int, sampled: int, days: int) -> dict[str, Any]:
    """All figures."""
    load = Load()
    rounds = history(count, days, drawn_samples(sampled))
    with tempfile.TemporaryDirectory(prefix="loosh-rescore-") as folder:
        root = Path(folder)
        figures = scoring(root, rounds, load)
        with running_validator(ASKED, 1.0) as validator:
            figures |= backfill(validator, root, rounds)
            during = validator.load.figures()
    return figures | load.figures() | {"load_backfill": during["load_during"]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rescore", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CHALLENGES} challenges")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    chosen = parser.parse_args()
    sizes = (QUICK_CHALLENGES, QUICK_SAMPLES, QUICK_DAYS) if chosen.quick else (CHALLENGES_MADE, SAMPLES, DAYS)
    try:
        figures = measure(*sizes)
    except LooshError as error:
        say(f"not measured: {error}")
        return 1
    about = {
        "quick": chosen.quick,
        "miners": ASKED,
        "samples": sizes[1],
        "processes": most_processes(),
        "cpus": os.cpu_count(),
    }
    show(figures | about | {"cpus": os.cpu_count()}, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
