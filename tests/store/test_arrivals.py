"""Challenges committed in groups, on both databases: each is judged by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import StatementError

from loosh_pipeline.audit.acceptances import Link
from loosh_pipeline.domain import ChallengeId, Hotkey
from loosh_pipeline.errors import DuplicateChallenge, NonceUsed
from loosh_pipeline.store.arrivals import Arrival, commit_arrivals
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.nonces import Nonce, Nonces
from loosh_pipeline.store.schema import challenges
from tests.claims import due

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
LATER = NOW + timedelta(seconds=60)


@pytest.fixture
def inbox(inbox_url: str) -> Inbox:
    return Inbox.open(inbox_url)


def nonce(value: str = "1.5", hotkey: str = "5A") -> Nonce:
    return Nonce(Hotkey(hotkey), value, LATER)


def arrival(challenge_id: str, signed: Nonce | None = None, **request: Any) -> Arrival:
    return Arrival(ChallengeId(challenge_id), {"id": challenge_id, "prompt": "hi"} | request, NOW, signed)


def kinds(inbox: Inbox, *arrivals: Arrival) -> list[type]:
    return [type(verdict) for verdict in commit_arrivals(inbox.engine, arrivals)]


def rows(inbox: Inbox) -> list[dict[str, Any]]:
    with inbox.engine.connect() as connection:
        found = connection.execute(select(challenges).order_by(challenges.c.id)).mappings()
        return [dict(row) for row in found]


def test_a_row_is_the_same_as_one_that_is_accepted_alone(inbox: Inbox) -> None:
    request = {"metadata": {"quote": "'; -- é \U0001f308", "n": [1.5, None, True]}, "id": "it's"}
    commit_arrivals(inbox.engine, [arrival("it's", **request), arrival("b")])
    inbox.accept(ChallengeId("c"), {"prompt": "hi"} | request, NOW)
    first, _, alone = rows(inbox)[2], rows(inbox)[0], rows(inbox)[1]
    assert (first["seq"], alone["seq"]) == (1, 3)
    assert first["salt"] != alone["salt"]
    same = {"id": "", "seq": 0, "link": "", "salt": "", "commitment": ""}
    assert first | same == alone | same
    assert due(inbox, NOW) == sorted(["b", "c", "it's"])


def test_each_is_judged_by_itself(inbox: Inbox) -> None:
    assert kinds(inbox, arrival("a"), arrival("b")) == [Link] * 2
    found = kinds(inbox, arrival("c"), arrival("b"), arrival("c"), arrival("d"))
    assert found == [Link, DuplicateChallenge, DuplicateChallenge, Link]
    assert [row["id"] for row in rows(inbox)] == ["a", "b", "c", "d"]


def test_the_first_of_a_group_is_the_one_that_is_kept(inbox: Inbox) -> None:
    commit_arrivals(inbox.engine, [arrival("a", prompt="one"), arrival("a", prompt="two")])
    assert rows(inbox)[0]["request"]["prompt"] == "one"


def test_w_17_a_nonce_lets_one_challenge_in(inbox: Inbox) -> None:
    found = kinds(
        inbox,
        arrival("a", nonce()),
        arrival("b", nonce()),
        arrival("c", nonce("2.5")),
        arrival("d", nonce(hotkey="5B")),
    )
    assert found == [Link, NonceUsed, Link, Link]
    assert kinds(inbox, arrival("e", nonce()), arrival("f")) == [NonceUsed, Link]
    assert [row["id"] for row in rows(inbox)] == ["a", "c", "d", "f"]


def test_a_duplicate_uses_its_nonce_up(inbox: Inbox) -> None:
    commit_arrivals(inbox.engine, [arrival("a")])
    assert kinds(inbox, arrival("a", nonce()), arrival("b", nonce())) == [DuplicateChallenge, NonceUsed]


def test_who_replays_does_not_take_an_id_from_another(inbox: Inbox) -> None:
    commit_arrivals(inbox.engine, [arrival("x", nonce())])
    assert kinds(inbox, arrival("a", nonce()), arrival("a")) == [NonceUsed, Link]


def test_nothing_is_kept_of_a_group_that_cannot_be_written(inbox: Inbox) -> None:
    with pytest.raises((StatementError, TypeError)):
        commit_arrivals(inbox.engine, [arrival("a", nonce()), arrival("b", request={1, 2})])
    assert rows(inbox) == []
    assert Nonces(inbox.engine).count() == 0


def test_w_36_one_of_many_processes_wins(inbox: Inbox) -> None:
    with ThreadPoolExecutor(8) as pool:
        groups = [[arrival(f"c-{n}") for n in range(5)] for _ in range(8)]
        verdicts = list(pool.map(lambda group: commit_arrivals(inbox.engine, group), groups))
    assert sum(isinstance(verdict, Link) for group in verdicts for verdict in group) == 5
    assert len(rows(inbox)) == 5


def test_an_empty_group_is_nothing(inbox: Inbox) -> None:
    assert commit_arrivals(inbox.engine, []) == []
