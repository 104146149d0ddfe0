"""The chain of accepted challenges in both databases: without gap or fork, whoever writes and whoever is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from ingress.writer import COMMIT_WITHIN_S
from loosh_pipeline.audit.acceptances import BEFORE_ALL, Link, first_broken
from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.restoring import restore_backup
from loosh_pipeline.backup.taking import take_backup
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import StoreError
from loosh_pipeline.moving.database import move_database
from loosh_pipeline.store import accepting as accepting_module
from loosh_pipeline.store.acceptances import all_acceptances, first_broken_of
from loosh_pipeline.store.accepted_range import accepted_since
from loosh_pipeline.store.accepting import ACCEPTING_LOCK_ID, LOCK_WITHIN_S, new_row
from loosh_pipeline.store.arrivals import Arrival, commit_arrivals
from loosh_pipeline.store.canaries import CanaryMark
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox, advance
from loosh_pipeline.store.schema import canaries, challenges
from tests.postgres import new_database
from tests.store.test_released import laid_down

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
STRANGE = {
    "prompt": "é \U0001f308 \u2028",
    "temperature": 0.1 + 0.2,
    "metadata": {"z": [1e22, -0.0, None], "a": 10**30},
}


def arrival(name: str, at: datetime = NOW, **request: Any) -> Arrival:
    return Arrival(ChallengeId(name), {"id": name, "prompt": "hi"} | request, at)


def whole(engine: Engine) -> int:
    """How many links there are; none is broken, and every request is the one that was accepted."""
    followed = first_broken_of(engine, requests=True)
    assert followed.broken is None, str(followed.broken)
    return followed.links


def test_each_acceptance_is_the_next_link(inbox: Inbox) -> None:
    verdicts = commit_arrivals(inbox.engine, [arrival("a", **STRANGE), arrival("b"), arrival("a"), arrival("c")])
    last = inbox.accept(ChallengeId("d"), {"id": "d"}, NOW)
    links = [each for each in (*verdicts, last) if isinstance(each, Link)]
    assert [link.seq for link in links] == [1, 2, 3, 4], "a duplicate takes no place"
    with reading(inbox.engine) as connection:
        found = list(all_acceptances(connection))
    assert [Link(each.seq, each.digest) for each in found] == links
    assert whole(inbox.engine) == 4
    assert inbox.get(ChallengeId("b")).link == links[1]


def test_nothing_breaks_a_chain_that_is_empty(inbox: Inbox) -> None:
    assert whole(inbox.engine) == 0
    found = accepted_since(inbox.engine, NOW, ())
    assert (found.acceptances, found.link_before) == ((), BEFORE_ALL.digest)


def test_many_writers_make_one_chain(inbox: Inbox) -> None:
    """Each thread has a connection of its own, as each ingress has; every other one writes what others write, too."""
    groups = [[arrival(f"{g if g % 2 else 'same'}-{n}-{k}") for k in range(3)] for g in range(8) for n in range(6)]
    with ThreadPoolExecutor(8) as pool:
        verdicts = [each for group in pool.map(lambda g: commit_arrivals(inbox.engine, g), groups) for each in group]
    links = [each for each in verdicts if isinstance(each, Link)]
    assert sorted(link.seq for link in links) == list(range(1, len(links) + 1))
    assert whole(inbox.engine) == len(links) == (4 + 1) * 6 * 3


WRITE_FOR_EVER = """
import sys
from datetime import UTC, datetime
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.arrivals import Arrival, commit_arrivals
from loosh_pipeline.store.inbox import Inbox
engine, number = Inbox.open(sys.argv[1]).engine, 0
while True:
    group = [Arrival(ChallengeId(f"{sys.argv[2]}-{number}-{k}"), {"id": "x"}, datetime.now(UTC)) for k in range(4)]
    for link in commit_arrivals(engine, group):
        print(link, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_writers_that_are_killed_leave_no_gap_and_no_fork(inbox_url: str) -> None:
    """Three processes write, and are killed one by one in the middle; what they said stands as they said it."""
    inbox, said = Inbox.open(inbox_url), list[str]()
    for turn in range(3):
        command = [sys.executable, "-c", WRITE_FOR_EVER, inbox_url]
        writers = [subprocess.Popen([*command, f"{turn}-{n}"], stdout=subprocess.PIPE, text=True) for n in range(3)]
        for number, writer in enumerate(writers):
            assert writer.stdout is not None
            said += [writer.stdout.readline().strip() for _ in range(8 + number)]
            writer.send_signal(signal.SIGKILL)
            said += [line.strip() for line in writer.stdout if line.endswith("\n")]
            writer.wait(10)
            writer.stdout.close()
        assert whole(inbox.engine) >= len(said)
    with reading(inbox.engine) as connection:
        kept = {f"{each.seq}:{each.digest}" for each in all_acceptances(connection)}
    assert set(said) <= kept
    assert len(set(said)) == len(said)
    inbox.engine.dispose()


def test_a_fork_is_refused_by_the_database_itself(inbox: Inbox) -> None:
    inbox.accept(ChallengeId("a"), {"id": "a"}, NOW)
    inbox.accept(ChallengeId("b"), {"id": "b"}, NOW)
    with pytest.raises(IntegrityError), inbox.engine.begin() as connection:
        connection.execute(update(challenges).where(challenges.c.id == "b").values(seq=1))


@pytest.fixture
def five(inbox: Inbox) -> Inbox:
    for number in range(5):
        at = NOW + timedelta(minutes=number)
        commit_arrivals(inbox.engine, [arrival(f"c-{number}", at)])
    return inbox


TAMPERED = [
    ("DELETE FROM challenges WHERE id = 'c-2'", 4, "link 3 is missing"),
    ("UPDATE challenges SET id = 'c-9' WHERE id = 'c-2'", 3, "was changed"),
    ("UPDATE challenges SET request_sha256 = link WHERE id = 'c-2'", 3, "was changed"),
    ("UPDATE challenges SET link = request_sha256 WHERE id = 'c-2'", 3, "was changed"),
    ("UPDATE challenges SET commitment = link WHERE id = 'c-2'", 3, "was changed"),
    ("UPDATE challenges SET salt = NULL WHERE id = 'c-2'", 3, "has no salt"),
    ("UPDATE challenges SET received_at = '2026-01-02 00:00:00' WHERE id = 'c-0'", 1, "was changed"),
    ("UPDATE challenges SET seq = NULL, link = NULL WHERE id = 'c-0'", 2, "link 1 is missing"),
    ("UPDATE challenges SET request = '{}' WHERE id = 'c-2'", 3, "was changed"),
]


@pytest.mark.parametrize(("change", "seq", "said"), TAMPERED)
def test_it_is_told_which_link_breaks(five: Inbox, change: str, seq: int, said: str) -> None:
    with five.engine.begin() as connection:
        connection.execute(text(change))
    broken = first_broken_of(five.engine, requests=True).broken
    assert broken is not None
    assert broken.seq == seq
    assert said in broken.reason


def test_what_came_before_there_was_a_chain_is_no_part_of_it(tmp_path: Path) -> None:
    inbox = Inbox.open(f"sqlite:///{laid_down(tmp_path / 'x.db', 'inbox', '0005')}")
    assert (whole(inbox.engine), inbox.get(ChallengeId("c-scored")).link) == (0, None)
    assert first_broken_of(inbox.engine).unchained == 5
    assert inbox.accept(ChallengeId("c-new"), {"id": "c-new"}, NOW).seq == 1
    inbox.engine.dispose()


def test_a_range_says_what_became_of_each(inbox: Inbox) -> None:
    marks = {3: CanaryMark([{"exact": "4"}], "a" * 64)}
    for number in range(6):
        at = NOW + timedelta(minutes=10 * number)
        commit_arrivals(inbox.engine, [replace(arrival(f"c-{number}", at), canary=marks.get(number))])
    with inbox.engine.begin() as connection:
        advance(connection, ChallengeId("c-1"), ChallengeState.SCORED, NOW)
        failed = {"state": ChallengeState.FAILED, "failure": "no miner answered", "attempts": 9}
        connection.execute(update(challenges).where(challenges.c.id == "c-2").values(failed))
    found = accepted_since(inbox.engine, NOW + timedelta(minutes=20), [ChallengeId("c-5")])
    assert [(each.seq, each.became) for each in found.acceptances] == [
        (2, "before"),  # the link that the range goes on from
        (3, "failed: given up after 9 attempts"),
        (4, "canary"),
        (5, "waiting"),
        (6, "scored"),
    ]
    everything = accepted_since(inbox.engine, NOW, ()).acceptances
    assert first_broken(found.acceptances, Link(1, everything[0].digest)) is None
    assert found.link_before == everything[0].digest
    assert [each.seq for each in everything] == [1, 2, 3, 4, 5, 6]
    assert first_broken(everything, BEFORE_ALL) is None


def range_since(inbox: Inbox, minutes: float) -> list[int]:
    return [each.seq for each in accepted_since(inbox.engine, NOW + timedelta(minutes=minutes), ()).acceptances]


def test_a_range_has_all_that_came_since_where_clocks_differ_by_a_little(inbox: Inbox) -> None:
    times = (0, 10, 21, 18, 22, 30)
    commit_arrivals(inbox.engine, [arrival(f"c-{n}", NOW + timedelta(minutes=m)) for n, m in enumerate(times)])
    assert range_since(inbox, 20) == [2, 3, 4, 5, 6], "the third came before the fourth, by another clock"
    assert range_since(inbox, 60) == [6]


def test_a_clock_that_was_far_ahead_once_is_not_in_every_range_from_then_on(inbox: Inbox) -> None:
    times = (0, 1, 10**6, 2, 30, 60)
    commit_arrivals(inbox.engine, [arrival(f"c-{n}", NOW + timedelta(minutes=m)) for n, m in enumerate(times)])
    assert range_since(inbox, 2) == [1, 2, 3, 4, 5, 6]
    assert range_since(inbox, 60) == [5, 6]
    followed = first_broken_of(inbox.engine)
    assert followed.whole
    assert followed.back is not None
    assert (followed.back.seq, followed.back.by) == (4, timedelta(minutes=10**6 - 2))


def unlinked(inbox: Inbox, name: str, at: datetime) -> None:
    """As an ingress of an older release accepts it."""
    with inbox.engine.begin() as connection:
        connection.execute(challenges.insert().values(new_row(ChallengeId(name), {"id": name}, at)))


def test_what_an_older_ingress_accepts_beside_the_chain_is_seen(inbox: Inbox) -> None:
    unlinked(inbox, "long-ago", NOW - timedelta(days=1))
    commit_arrivals(inbox.engine, [arrival("a"), arrival("b")])
    followed = first_broken_of(inbox.engine)
    assert (followed.unchained, followed.unlinked, followed.whole) == (1, 0, True)
    unlinked(inbox, "beside", NOW + timedelta(seconds=1))
    followed = first_broken_of(inbox.engine)
    assert (followed.unchained, followed.unlinked, followed.whole) == (1, 1, False)
    assert len(accepted_since(inbox.engine, NOW, [ChallengeId("a"), ChallengeId("long-ago")]).acceptances) == 2
    with pytest.raises(StoreError, match=r"beside.*ingress of an older release"):
        accepted_since(inbox.engine, NOW, [ChallengeId("a"), ChallengeId("beside")])


@pytest.fixture
def postgres(postgres_server: str) -> str:
    return new_database(postgres_server, "accepting")


@contextmanager
def held(url: str) -> Iterator[None]:
    """Somebody else accepts, and does not go on."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ACCEPTING_LOCK_ID})
        yield
    engine.dispose()


def test_who_waits_for_another_gives_up_before_its_senders_do(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LOCK_WITHIN_S < COMMIT_WITHIN_S
    monkeypatch.setattr(accepting_module, "LOCK_WITHIN_S", 0.2)
    inbox = Inbox.open(postgres)
    with held(postgres), pytest.raises(OperationalError, match="lock timeout"):
        commit_arrivals(inbox.engine, [arrival("a")])
    assert [each for each in commit_arrivals(inbox.engine, [arrival("a")]) if isinstance(each, Link)]
    inbox.engine.dispose()


def test_who_waits_for_a_server_that_is_gone_does_not_wait_for_hours(postgres: str) -> None:
    inbox = Inbox.open(postgres)
    connection: Any = inbox.engine.raw_connection()
    assert connection.driver_connection.get_dsn_parameters().items() >= {
        ("keepalives_idle", "10"),
        ("keepalives_interval", "5"),
        ("keepalives_count", "3"),
    }
    connection.close()
    inbox.engine.dispose()


HANG = """
import os, signal, sys
from datetime import UTC, datetime
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.store.accepting import Candidate, accept, accepting
from loosh_pipeline.store.inbox import Inbox
engine = Inbox.open(sys.argv[1]).engine
with accepting(engine) as connection:
    accept(connection, [Candidate.of(ChallengeId("hangs"), {}, datetime.now(UTC))])
    print("accepts", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_one_that_hangs_while_it_accepts_holds_up_the_others_for_seconds(postgres: str) -> None:
    """The server throws it out, and what it had not committed is not there."""
    inbox = Inbox.open(postgres)
    hung = subprocess.Popen([sys.executable, "-c", HANG, postgres], stdout=subprocess.PIPE, text=True)
    try:
        assert hung.stdout is not None
        assert hung.stdout.readline() == "accepts\n"
        (link,) = commit_arrivals(inbox.engine, [arrival("a")])
        assert isinstance(link, Link)
        assert (link.seq, whole(inbox.engine)) == (1, 1)
    finally:
        hung.kill()
        hung.communicate()
        inbox.engine.dispose()


def test_honest_challenges_are_accepted_where_the_servers_default_is_stricter(postgres: str) -> None:
    """Else a transaction sees the end of the chain as it was before it waited for the lock."""
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("ALTER DATABASE accepting SET default_transaction_isolation = 'repeatable read'"))
    engine.dispose()
    inbox = Inbox.open(postgres)
    with ThreadPoolExecutor(4) as pool:
        groups = [[arrival(f"{g}-{n}")] for g in range(4) for n in range(10)]
        verdicts = [each for group in pool.map(lambda g: commit_arrivals(inbox.engine, g), groups) for each in group]
    assert sorted(each.seq for each in verdicts if isinstance(each, Link)) == list(range(1, 41))
    assert whole(inbox.engine) == 40
    inbox.engine.dispose()


def test_a_backup_has_the_chain_and_what_is_restored_goes_on_from_it(tmp_path: Path) -> None:
    old, new = Places.usual(tmp_path), Places.usual(tmp_path / "new")
    inbox = Inbox.open(f"sqlite:///{old.inbox}")
    commit_arrivals(inbox.engine, [arrival("a", **STRANGE), arrival("b")])
    inbox.engine.dispose()
    restore_backup(take_backup(old, tmp_path / "b.tar", NOW).path, new, NOW, force=False, say=lambda _: None)
    restored = Inbox.open(f"sqlite:///{new.inbox}")
    assert restored.accept(ChallengeId("c"), {"id": "c"}, NOW).seq == 3
    assert whole(restored.engine) == 3
    restored.engine.dispose()


def test_a_database_that_moves_keeps_its_chain(tmp_path: Path, postgres_server: str) -> None:
    file = laid_down(tmp_path / "validator.db", "inbox", "0006")
    before = Inbox.open(f"sqlite:///{file}")
    commit_arrivals(before.engine, [arrival("strange", **STRANGE)])
    with reading(before.engine) as connection:
        expected = list(all_acceptances(connection))
    before.engine.dispose()
    url = new_database(postgres_server, "moved")
    assert move_database(file, tmp_path / "users.db", url)["canaries"] == 1
    after = Inbox.open(url)
    with reading(after.engine) as connection:
        assert list(all_acceptances(connection)) == expected
        assert connection.execute(select(canaries.c.accepted)).scalar_one() == [{"exact": "42"}]
    assert after.accept(ChallengeId("c-new"), {"id": "c-new"}, NOW).seq == len(expected) + 1
    assert whole(after.engine) == len(expected) + 1
    after.engine.dispose()
