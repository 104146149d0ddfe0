"""A worker's parent tells what its children hold, interrupts what others want ended, and ends all when cut off."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from loosh_pipeline.settings import Settings
from loosh_pipeline.store.hosts import CUT_OFF_S, HEARD_WITHIN_S, Hosts, impatient_engine
from loosh_pipeline.workers.config import EVALUATIONS, SPARE_CHILDREN, folder, marks
from loosh_pipeline.workers.heart import Heart, host_name, shared_hosts
from loosh_pipeline.workers.holding import holding
from loosh_pipeline.workers.room import free_children


def hold(marks_folder: Path, run_id: str, begun: Any) -> None:
    """Until it is interrupted."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(7))
    with holding(marks_folder, run_id):
        begun.set()
        signal.pause()


@contextmanager
def child(settings: Settings, run_id: str) -> Iterator[BaseProcess]:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=hold, args=(marks(folder(settings), EVALUATIONS), run_id, begun))
    process.start()
    assert begun.wait(60)
    try:
        yield process
    finally:
        process.kill()
        process.join(30)


@pytest.fixture
def settings(own_home: Path, database_url: str, tmp_path: Path) -> Settings:
    shared = {"tables_dir": str(tmp_path / "t"), "heatmaps_dir": tmp_path / "h"}
    return Settings(database_url=database_url, celery_broker_url="redis://h/0", max_concurrent_runs=2, **shared)


@pytest.fixture
def heart(settings: Settings, hosts: Hosts) -> Heart:
    return Heart(hosts, "here/1", EVALUATIONS, settings)


def test_it_tells_what_the_marks_say(heart: Heart, hosts: Hosts, settings: Settings) -> None:
    with child(settings, "r-1") as process:
        heart.beat()
        assert hosts.told("here/1", EVALUATIONS) == ["r-1"]
        assert free_children(settings, hosts._engine) == 2 + SPARE_CHILDREN - 1
        process.kill()
        process.join(30)
        heart.beat()
    assert hosts.told("here/1", EVALUATIONS) == []
    assert free_children(settings, hosts._engine) == 2 + SPARE_CHILDREN


def test_what_others_want_ended_is_interrupted(heart: Heart, hosts: Hosts, settings: Settings) -> None:
    with child(settings, "r-1") as process:
        heart.beat()
        assert hosts.ask_to_cancel("r-1")
        heart.beat()
        process.join(30)
        assert process.exitcode == 7


def test_cut_off_it_ends_its_runs_before_others_count_it_as_gone(
    heart: Heart, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CUT_OFF_S < HEARD_WITHIN_S
    with child(settings, "r-1") as process:
        heart.beat()
        assert heart.end_runs_if_cut_off() == 0
        later_s = time.monotonic() + CUT_OFF_S + 1
        monkeypatch.setattr(time, "monotonic", lambda: later_s)
        assert heart.end_runs_if_cut_off() == 1
        process.join(30)
        assert process.exitcode == -signal.SIGKILL


def test_a_database_that_is_away_is_noticed_soon(settings: Settings) -> None:
    begun_s = time.monotonic()
    away = Hosts(impatient_engine("postgresql://u@192.0.2.1:5432/x"))  # an address that answers nothing
    with pytest.raises(OperationalError):
        away.beat("here", EVALUATIONS, 1, (), ())
    assert time.monotonic() - begun_s < CUT_OFF_S - 2


def test_a_host_has_one_name_of_its_own(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"loosh_home": tmp_path / "other"})
    assert host_name(settings) == host_name(settings)
    assert host_name(settings) != host_name(other)


def test_one_machine_with_files_tells_nobody(own_home: Path) -> None:
    assert shared_hosts(Settings()) is None
