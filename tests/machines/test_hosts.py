"""What machines tell each other of the runs they execute: in a real Postgres."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from loosh_pipeline.store.hosts import FORGOTTEN_AFTER_S, HEARD_WITHIN_S, Hosts, StillHeld
from tests.machines.conftest import silence

QUEUE = "dagster"


def test_a_host_says_how_many_processes_it_has_and_which_runs_they_hold(hosts: Hosts) -> None:
    assert hosts.free(QUEUE) == 0, "nobody is heard of"
    assert hosts.beat("a", QUEUE, 5, {"r-1", "r-2"}, ()) == []
    hosts.beat("b", QUEUE, 3, (), ())
    hosts.beat("b", "upkeep", 2, {"r-3"}, ())
    assert hosts.free(QUEUE) == 5 + 3 - 2
    assert sorted(hosts.told("a", QUEUE)) == ["r-1", "r-2"]
    assert [(each.host, each.queue, each.children, each.busy, each.is_heard) for each in hosts.known()] == [
        ("a", QUEUE, 5, 2, True),
        ("b", QUEUE, 3, 0, True),
        ("b", "upkeep", 2, 1, True),
    ]


def test_a_run_that_its_host_holds_no_longer_is_held_by_nobody(hosts: Hosts) -> None:
    hosts.beat("a", QUEUE, 5, {"r-1", "r-2"}, ())
    hosts.beat("a", QUEUE, 5, {"r-2"}, {"r-1"})
    assert hosts.holder("r-1") is None
    assert (hosts.holder("r-2") or pytest.fail("nobody holds it")).host == "a"


def test_a_run_that_is_taken_between_a_look_and_a_beat_stays(hosts: Hosts) -> None:
    hosts.beat("a", QUEUE, 5, {"r-1"}, ())
    told = hosts.told("a", QUEUE)
    hosts.take("r-new", "a", QUEUE)
    hosts.beat("a", QUEUE, 5, {"r-1"}, [each for each in told if each != "r-1"])
    assert hosts.holder("r-new") is not None


def test_a_silent_host_is_gone_and_its_processes_count_for_nothing(hosts: Hosts, engine: Engine) -> None:
    hosts.beat("a", QUEUE, 5, {"r-1"}, ())
    silence(engine, "a", HEARD_WITHIN_S + 1)
    found = hosts.holder("r-1")
    assert found is not None
    assert not found.is_heard
    assert hosts.free(QUEUE) == 0
    assert not hosts.ask_to_cancel("r-1")
    hosts.beat("a", QUEUE, 5, {"r-1"}, ())
    assert (hosts.holder("r-1") or pytest.fail("nobody holds it")).is_heard, "it is back"


def test_a_message_that_comes_again_is_left_to_the_host_that_lives(hosts: Hosts, engine: Engine) -> None:
    hosts.beat("a", QUEUE, 5, (), ())
    hosts.beat("b", QUEUE, 5, (), ())
    assert hosts.take("r-1", "a", QUEUE) is None
    with pytest.raises(StillHeld, match="executed on a"):
        hosts.take("r-1", "b", QUEUE)
    assert hosts.take("r-1", "a", QUEUE) == "a", "after its own process died"
    silence(engine, "a", HEARD_WITHIN_S + 1)
    assert hosts.take("r-1", "b", QUEUE) == "a"
    hosts.release("r-1", "a")
    assert (hosts.holder("r-1") or pytest.fail("nobody holds it")).host == "b", "who lost it ends nothing"
    hosts.release("r-1", "b")
    assert hosts.holder("r-1") is None


def test_who_executes_a_run_hears_that_it_is_to_be_interrupted(hosts: Hosts) -> None:
    hosts.beat("a", QUEUE, 5, {"r-1", "r-2"}, ())
    assert hosts.ask_to_cancel("r-1")
    assert hosts.beat("a", QUEUE, 5, {"r-1", "r-2"}, ()) == ["r-1"]
    assert not hosts.ask_to_cancel("r-unknown")


def test_who_leaves_is_gone_at_once(hosts: Hosts) -> None:
    hosts.beat("a", QUEUE, 5, {"r-1"}, ())
    hosts.leave("a", QUEUE)
    assert (hosts.holder("r-1"), hosts.known(), hosts.free(QUEUE)) == (None, [], 0)


def test_who_left_long_ago_is_forgotten(hosts: Hosts, engine: Engine) -> None:
    hosts.beat("a", QUEUE, 5, (), ())
    hosts.beat("b", QUEUE, 5, (), ())
    silence(engine, "a", FORGOTTEN_AFTER_S + 1)
    assert hosts.forget() == 1
    assert [each.host for each in hosts.known()] == ["b"]
