"""What machines tell each other of the runs they execute: in a real Postgres."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from loosh_pipeline.store.hosts import (
    CUT_OFF_S,
    FORGOTTEN_AFTER_S,
    HEARD_WITHIN_S,
    Host,
    Hosts,
    Replaced,
    Speaker,
    StillHeld,
    WasSilent,
    impatient_engine,
)
from loosh_pipeline.store.schema import held_runs
from tests.machines.conftest import executing, silence, speaker

QUEUE = "dagster"
A, B = speaker("a"), speaker("b")


def holder(hosts: Hosts, run_id: str) -> Host:
    return hosts.holder(run_id) or pytest.fail(f"nobody holds {run_id}")


def test_a_host_says_how_many_processes_it_has_and_its_runs_are_told_of(hosts: Hosts) -> None:
    assert hosts.free(QUEUE) == 0, "nobody is heard of"
    executing(hosts, "a", "r-1", "r-2")
    executing(hosts, "b", children=3)
    executing(hosts, "b", "r-3", children=2, queue="upkeep")
    assert hosts.free(QUEUE) == 5 + 3 - 2
    assert sorted(hosts.told("a", QUEUE)) == ["r-1", "r-2"]
    assert {run_id: host.host for run_id, host in hosts.holders().items()} == {"r-1": "a", "r-2": "a", "r-3": "b"}
    assert [(each.host, each.queue, each.children, each.busy, each.is_heard) for each in hosts.known()] == [
        ("a", QUEUE, 5, 2, True),
        ("b", QUEUE, 3, 0, True),
        ("b", "upkeep", 2, 1, True),
    ]


def test_a_run_that_its_host_holds_no_longer_is_held_by_nobody(hosts: Hosts) -> None:
    executing(hosts, "a", "r-1", "r-2")
    told = hosts.told("a", QUEUE)
    hosts.beat(A, 5, {"r-2"}, {"r-1": told["r-1"]})
    assert hosts.holder("r-1") is None
    assert holder(hosts, "r-2").host == "a"


def test_a_run_that_is_taken_between_a_look_and_a_beat_stays(hosts: Hosts) -> None:
    executing(hosts, "a", "r-again")
    told = hosts.told("a", QUEUE)
    hosts.take("r-new", "a", QUEUE)
    assert hosts.take("r-again", "a", QUEUE) == "a", "by the next process, after the first has died"
    hosts.beat(A, 5, (), told)
    assert sorted(hosts.told("a", QUEUE)) == ["r-again", "r-new"]


def test_a_run_whose_mark_is_held_and_that_nobody_has_taken_yet_is_told_of_by_nobody(hosts: Hosts) -> None:
    hosts.beat(A, 5, ())
    hosts.beat(A, 5, {"r-1"})
    assert hosts.holder("r-1") is None
    assert hosts.take("r-1", "a", QUEUE) is None


def test_a_host_keeps_what_came_to_be_its_own_while_it_was_taken(hosts: Hosts, engine: Engine) -> None:
    found: list[str | None] = []
    taking = threading.Thread(target=lambda: found.append(hosts.take("r-1", "a", QUEUE)))
    with engine.begin() as connection:
        row = {"run_id": "r-1", "host": "a", "queue": QUEUE, "seen_at": text("now()"), "cancel": False}
        connection.execute(held_runs.insert().values(row))
        taking.start()
        time.sleep(0.3)
    taking.join()
    assert found == ["a"]


def test_a_silent_host_is_gone_and_its_processes_count_for_nothing(hosts: Hosts, engine: Engine) -> None:
    executing(hosts, "a", "r-1")
    silence(engine, "a", HEARD_WITHIN_S + 1)
    assert not holder(hosts, "r-1").is_heard
    assert not hosts.holders()["r-1"].is_heard
    assert hosts.free(QUEUE) == 0
    assert not hosts.ask_to_cancel("r-1")


def test_who_was_silent_for_long_and_holds_runs_is_not_heard_of_again_before_they_end(
    hosts: Hosts, engine: Engine
) -> None:
    executing(hosts, "a", "r-1")
    silence(engine, "a", CUT_OFF_S + 1)
    with pytest.raises(WasSilent, match="not heard of for 13 s"):
        hosts.beat(A, 5, {"r-1"})
    silence(engine, "a", HEARD_WITHIN_S + 1)
    assert not holder(hosts, "r-1").is_heard
    hosts.beat(A, 5, (), hosts.told("a", QUEUE))
    assert hosts.holder("r-1") is None
    with pytest.raises(WasSilent):
        hosts.beat(speaker("forgotten"), 5, {"r-2"})


def test_a_host_hears_that_another_has_its_run(hosts: Hosts, engine: Engine) -> None:
    executing(hosts, "a", "r-1")
    executing(hosts, "b")
    silence(engine, "a", HEARD_WITHIN_S + 1)
    assert hosts.take("r-1", "b", QUEUE) == "a"
    silence(engine, "a", 1)
    assert hosts.beat(A, 5, {"r-1"}).lost == {"r-1"}


def test_a_message_that_comes_again_is_left_to_the_host_that_lives(hosts: Hosts, engine: Engine) -> None:
    executing(hosts, "a")
    executing(hosts, "b")
    assert hosts.take("r-1", "a", QUEUE) is None
    with pytest.raises(StillHeld, match="executed on a"):
        hosts.take("r-1", "b", QUEUE)
    assert hosts.take("r-1", "a", QUEUE) == "a", "after its own process died"
    silence(engine, "a", HEARD_WITHIN_S + 1)
    assert hosts.take("r-1", "b", QUEUE) == "a"
    hosts.release("r-1", "a")
    assert holder(hosts, "r-1").host == "b", "who lost it ends nothing"
    hosts.release("r-1", "b")
    assert hosts.holder("r-1") is None


def test_who_executes_a_run_hears_that_it_is_to_be_interrupted(hosts: Hosts) -> None:
    executing(hosts, "a", "r-1", "r-2")
    assert hosts.ask_to_cancel("r-1")
    assert hosts.beat(A, 5, {"r-1", "r-2"}).wanted == {"r-1"}
    assert not hosts.ask_to_cancel("r-unknown")


def test_one_process_speaks_under_a_name(hosts: Hosts) -> None:
    executing(hosts, "a", "r-1")
    copy = Speaker("a", QUEUE, "copy")
    with pytest.raises(Replaced):
        hosts.beat(copy, 5, ())
    hosts.leave(copy)
    assert holder(hosts, "r-1").is_heard, "it ends nothing of the other"
    hosts.beat(copy, 5, (), adopt=True)
    with pytest.raises(Replaced):
        hosts.beat(A, 5, {"r-1"})


def test_who_leaves_is_gone_at_once(hosts: Hosts) -> None:
    executing(hosts, "a", "r-1")
    hosts.leave(A)
    assert (hosts.holder("r-1"), hosts.known(), hosts.free(QUEUE)) == (None, [], 0)


def test_who_left_long_ago_is_forgotten(hosts: Hosts, engine: Engine) -> None:
    executing(hosts, "a")
    executing(hosts, "b")
    silence(engine, "a", FORGOTTEN_AFTER_S + 1)
    assert hosts.forget() == 1
    assert [each.host for each in hosts.known()] == ["b"]


def test_nobody_waits_long_for_a_lock(hosts: Hosts, engine: Engine, database_url: str) -> None:
    impatient = Hosts(impatient_engine(database_url, forks=False))
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE held_runs IN ACCESS EXCLUSIVE MODE"))
        begun_s = time.monotonic()
        with pytest.raises(OperationalError, match="statement timeout"):
            impatient.told("a", QUEUE)
        assert time.monotonic() - begun_s < CUT_OFF_S / 2
    assert impatient.told("a", QUEUE) == {}
    impatient._engine.dispose()
