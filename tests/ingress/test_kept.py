"""What was made last is kept, and no more of it than was said."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingress.kept import NOTHING_KEPT_S, Kept


def test_the_last_few_are_made_once() -> None:
    made: list[str] = []

    def get(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key.upper()

        return kept.get(key, make)

    kept = Kept[str, str](2)
    assert [get(key) for key in "aababca"] == ["A", "A", "B", "A", "B", "C", "A"]
    assert made == ["a", "b", "c", "a"], "a was asked for before b, when c came"


def test_of_what_cannot_be_made_nothing_is_kept() -> None:
    kept = Kept[str, int](2)
    with pytest.raises(ValueError, match="no"):
        kept.get("a", lambda: int("no"))
    assert kept.get("a", lambda: 1) == 1


def test_who_asks_for_the_same_waits_for_it_and_others_do_not() -> None:
    kept, go_on, made = Kept[str, int](4), threading.Event(), list[int]()

    def slow() -> int:
        go_on.wait(20)
        made.append(1)
        return 1

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(kept.get, "slow", slow) for _ in range(3)]
        assert kept.get("other", lambda: 2) == 2
        assert not any(each.done() for each in waiting)
        go_on.set()
        assert [each.result() for each in waiting] == [1, 1, 1]
    assert made == [1]


def test_what_was_not_there_is_looked_for_again_after_a_while() -> None:
    now, made = [0.0], [0]

    def make() -> dict[str, int]:
        made[0] += 1
        return {"a": 1} if made[0] == 2 else {}

    kept = Kept[int, dict[str, int]](2, bool, clock=lambda: now[0])
    assert [kept.get(1, make), kept.get(1, make)] == [{}, {}]
    assert made == [1]
    now[0] = NOTHING_KEPT_S
    assert kept.get(1, make) == {"a": 1}
    now[0] = 10 * NOTHING_KEPT_S
    assert kept.get(1, make) == {"a": 1}
    assert made == [2]
