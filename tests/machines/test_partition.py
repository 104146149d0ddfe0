"""A machine of workers that reaches Redis and not Postgres leaves the messages to the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest
import redis
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME

from loosh_pipeline.orchestrator import SCORE_JOB
from loosh_pipeline.services import environment
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.hosts import CUT_OFF_S, Hosts
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.supervisor import free_ports, supervised
from loosh_pipeline.workers.app import worker_app
from loosh_pipeline.workers.config import EVALUATIONS
from tests.machines.fleet import redis_service
from tests.postgres import new_database, running_postgres
from tests.workers.conftest import NewRun

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MESSAGES = 12


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@contextmanager
def worker(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, **environment(settings, settings.home / "dagster_home")}
    with log.open("wb") as file:
        command = [sys.executable, "-m", "loosh_pipeline.workers"]
        process = subprocess.Popen(command, env=env, start_new_session=True, stdout=file, stderr=file)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def until(found: Callable[[], bool], what: str, within_s: float = 90.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.2)


def push(settings: Settings, new_run: NewRun) -> None:
    app = worker_app(settings)
    for _ in range(MESSAGES):
        run = new_run(SCORE_JOB)
        assert run.job_code_origin is not None
        args = ExecuteRunArgs(run.job_code_origin, run.run_id, None, set_exit_code_on_failure=True)
        app.send_task(TASK_EXECUTE_JOB_NAME, args=[pack_value(args)], task_id=run.run_id, queue=EVALUATIONS)


def test_cut_off_from_postgres_workers_end_and_lose_no_message(own_home: Path, tmp_path: Path, new_run: NewRun) -> None:
    (port,) = free_ports(1)
    with ExitStack() as stack:
        stack.enter_context(supervised([redis_service(tmp_path, port)], tmp_path / "redis-logs", print))
        postgres = stack.enter_context(ExitStack())
        settings = Settings(
            database_url=new_database(postgres.enter_context(running_postgres()), "loosh"),
            celery_broker_url=f"redis://127.0.0.1:{port}/0",
            max_concurrent_runs=2,
            tables_dir=str(tmp_path / "t"),
            heatmaps_dir=tmp_path / "h",
        )
        inbox = Inbox.open(settings.inbox_url)
        process = stack.enter_context(worker(settings, log := tmp_path / "worker.log"))
        until(lambda: any(each.children for each in Hosts(inbox.engine).known()), "the workers are heard of")
        inbox.engine.dispose()
        postgres.close()
        push(settings, new_run)
        assert process.wait(3 * CUT_OFF_S) == -signal.SIGKILL, log.read_text()
        assert "its message is given back" in log.read_text()
        client = redis.Redis(port=port)
        assert client.llen(EVALUATIONS) + client.hlen("unacked") == MESSAGES
        client.close()
        again = stack.enter_context(worker(settings, log))
        assert again.wait(90) != 0, "it does not start while the database is away"
