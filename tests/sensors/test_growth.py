"""What sensors ask of Dagster's storage, and of the inbox, costs no more for more runs that are over.

As in `tests.store.test_growth`, steps of SQLite's own machine are counted.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from loosh_pipeline.orchestrator import PARTITION_TAG, SCORE_JOB
from loosh_pipeline.run_tags import ATTEMPT_TAG
from sensors import challenge_sensor, jobs
from tests.sqlite_steps import steps

MANY = 300
MORE = 1.3
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

Ask = Callable[[dg.DagsterInstance], object]


def add_runs(instance: dg.DagsterInstance, numbers: range) -> None:
    """Runs of challenges that ended well."""
    for number in numbers:
        instance.add_run(
            dg.DagsterRun(
                job_name=SCORE_JOB,
                run_id=str(uuid.UUID(int=number)),
                status=dg.DagsterRunStatus.SUCCESS,
                tags={PARTITION_TAG: f"past-{number}", ATTEMPT_TAG: "1"},
            )
        )


def of_a_challenge(instance: dg.DagsterInstance) -> object:
    tags = {PARTITION_TAG: "past-3"}
    return instance.get_run_records(dg.RunsFilter(job_name=SCORE_JOB, tags=tags), limit=2)


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda it: challenge_sensor.dead_runs(it, datetime.now(UTC)), id="dead_runs"),
        pytest.param(lambda it: challenge_sensor.stuck_runs(it, LONG_AGO), id="stuck_runs"),
        pytest.param(lambda it: jobs.newest_run(it, SCORE_JOB), id="newest_run"),
        pytest.param(lambda it: jobs.newest_run(it, "refresh_metagraph"), id="no_run"),
        pytest.param(lambda it: jobs.held_up(it, "refresh_metagraph", timedelta(0)), id="held_up"),
        pytest.param(of_a_challenge, id="of_a_challenge"),
    ],
)
def test_a_sensor_reads_no_more_for_more_runs_that_are_over(
    ask: Ask, few_and_many: tuple[dg.DagsterInstance, dg.DagsterInstance]
) -> None:
    few, many = (steps(lambda instance=instance: ask(instance)) for instance in few_and_many)
    assert few > 0
    assert many <= MORE * few, f"{few} steps became {many}"


@pytest.fixture(scope="module")
def few_and_many(tmp_path_factory: pytest.TempPathFactory) -> tuple[dg.DagsterInstance, dg.DagsterInstance]:
    found = []
    for count in (20, MANY):
        instance = dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp(f"dagster-{count}")))
        add_runs(instance, range(count))
        found.append(instance)
    return found[0], found[1]
