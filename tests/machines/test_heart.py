"""A worker's parent tells what its children hold, interrupts what others want ended, and ends all when cut off."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.hosts import CUT_OFF_S, HEARD_WITHIN_S, Hosts, impatient_engine
from loosh_pipeline.store.shared_places import check_shared, marked_places
from loosh_pipeline.workers.config import EVALUATIONS, SPARE_CHILDREN, folder, marks
from loosh_pipeline.workers.heart import Heart, host_name, shared_hosts
from loosh_pipeline.workers.holding import holding
from loosh_pipeline.workers.room import free_children
from tests.machines.conftest import executing, silence, speaker

HERE = "here/1"


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
def ended() -> list[str]:
    """Why the process was to end."""
    return []


@pytest.fixture
def heart(settings: Settings, hosts: Hosts, ended: list[str]) -> Heart:
    """Of a machine that is known to the others."""
    folder(settings).mkdir(parents=True)
    heart = Heart(hosts, HERE, EVALUATIONS, settings, ended.append)
    heart.adopt()
    return heart


@contextmanager
def executed(heart: Heart, hosts: Hosts, settings: Settings, run_id: str = "r-1") -> Iterator[BaseProcess]:
    with child(settings, run_id) as process:
        hosts.take(run_id, HERE, EVALUATIONS)
        heart.beat()
        yield process


def test_it_tells_what_the_marks_say(heart: Heart, hosts: Hosts, settings: Settings) -> None:
    with executed(heart, hosts, settings) as process:
        assert list(hosts.told(HERE, EVALUATIONS)) == ["r-1"]
        assert free_children(settings, hosts._engine) == 2 + SPARE_CHILDREN - 1
        process.kill()
        process.join(30)
        heart.beat()
    assert hosts.told(HERE, EVALUATIONS) == {}
    assert free_children(settings, hosts._engine) == 2 + SPARE_CHILDREN


def test_what_others_want_ended_is_interrupted(heart: Heart, hosts: Hosts, settings: Settings) -> None:
    with executed(heart, hosts, settings) as process:
        assert hosts.ask_to_cancel("r-1")
        heart.beat()
        process.join(30)
        assert process.exitcode == 7


def test_cut_off_it_ends_its_runs_and_itself_before_others_count_it_as_gone(
    heart: Heart, hosts: Hosts, settings: Settings, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CUT_OFF_S < HEARD_WITHIN_S
    with executed(heart, hosts, settings) as process:
        assert not heart.end_if_cut_off()
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + CUT_OFF_S + 1)
        assert heart.end_if_cut_off()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
    assert ["start again when it answers" in why for why in ended] == [True]


def test_after_a_long_silence_it_ends_its_runs_before_it_is_heard_of_again(
    heart: Heart, hosts: Hosts, settings: Settings, engine: Engine
) -> None:
    with executed(heart, hosts, settings) as process:
        silence(engine, HERE, 300)
        heart.beat()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
        assert not (hosts.holder("r-1") or pytest.fail("it is told of")).is_heard
    heart.beat()
    assert hosts.holder("r-1") is None
    assert [host.is_heard for host in hosts.known()] == [True]


def test_a_run_that_another_machine_has_by_now_is_ended(
    heart: Heart, hosts: Hosts, settings: Settings, engine: Engine
) -> None:
    with executed(heart, hosts, settings) as process:
        executing(hosts, "other")
        silence(engine, HERE, HEARD_WITHIN_S + 1)
        hosts.take("r-1", "other", EVALUATIONS)
        silence(engine, HERE, 1)
        heart.beat()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
    assert (hosts.holder("r-1") or pytest.fail("it is told of")).host == "other"


def test_a_frozen_machine_ends_its_runs_when_it_goes_on(
    heart: Heart, hosts: Hosts, settings: Settings, engine: Engine
) -> None:
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    with child(settings, "r-1") as process:
        hosts.take("r-1", HERE, EVALUATIONS)
        beating = context.Process(target=beat_on, args=(settings, begun))
        beating.start()
        assert begun.wait(60)
        for pid in (beating.pid, process.pid):
            os.kill(pid or 0, signal.SIGSTOP)
        silence(engine, HERE, 300)  # as after five minutes
        for pid in (process.pid, beating.pid):
            os.kill(pid or 0, signal.SIGCONT)
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
        beating.kill()
        beating.join(30)


def beat_on(settings: Settings, begun: Any) -> None:
    heart = Heart(Hosts(impatient_engine(str(settings.database_url))), HERE, EVALUATIONS, settings, print)
    heart.adopt()
    heart.start()
    begun.set()
    signal.pause()


def test_a_copied_data_directory_is_told(
    heart: Heart, hosts: Hosts, settings: Settings, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Heart(hosts, HERE, EVALUATIONS, settings, ended.append)
    monkeypatch.setattr("loosh_pipeline.workers.heart.time.sleep", lambda _: heart.beat())
    with pytest.raises(StoreError, match=f"delete {folder(settings)}/host"):
        copy.adopt()
    monkeypatch.setattr("loosh_pipeline.workers.heart.time.sleep", lambda _: None)
    copy.adopt()  # the other one was killed
    heart.beat()
    assert ["data directory was copied" in why for why in ended] == [True]


def test_processes_that_outlived_their_parent_end_before_it_is_heard_of_again(
    heart: Heart, hosts: Hosts, settings: Settings, engine: Engine, ended: list[str]
) -> None:
    with executed(heart, hosts, settings) as process:
        silence(engine, HERE, HEARD_WITHIN_S + 1)
        Heart(hosts, HERE, EVALUATIONS, settings, ended.append).adopt()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL


def test_a_directory_that_is_mounted_no_longer_ends_it(
    hosts: Hosts, settings: Settings, engine: Engine, ended: list[str], tmp_path: Path
) -> None:
    check_shared(settings, engine, datetime.now(UTC))
    places = marked_places(settings)
    assert [place.name for place, _ in places] == ["t", "h"]
    heart = Heart(hosts, HERE, EVALUATIONS, settings, ended.append, places)
    assert not heart.end_if_elsewhere()
    (tmp_path / "h").rename(tmp_path / "away")
    assert heart.end_if_elsewhere()
    assert ["is it mounted?" in why for why in ended] == [True]


def test_a_database_that_is_away_is_noticed_soon(settings: Settings) -> None:
    begun_s = time.monotonic()
    away = Hosts(impatient_engine("postgresql://u@192.0.2.1:5432/x"))  # an address that answers nothing
    with pytest.raises(OperationalError):
        away.beat(speaker("here"), 1, ())
    assert time.monotonic() - begun_s < CUT_OFF_S - 2


def test_a_host_has_one_name_of_its_own(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"loosh_home": tmp_path / "other"})
    assert host_name(settings) == host_name(settings)
    assert host_name(settings) != host_name(other)


def test_one_machine_with_files_tells_nobody(own_home: Path) -> None:
    assert shared_hosts(Settings()) is None
