"""Sessions that were opened: kept across restarts, bounded, gone when refused or expired."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.store import sessions as sessions_module
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import sessions
from loosh_pipeline.store.sessions import ApiSessionStore, MinerSessions
from loosh_pipeline.wire.client_sessions import SESSION_TTL, Session, SessionBook, peer_name
from tests.builders import NOON

PEER = peer_name("own", Hotkey("miner"), "http://1.2.3.4:5")


def session(uuid: str = "u-1", expires_in: timedelta = SESSION_TTL) -> Session:
    return Session(b"k" * 44, uuid, NOON + expires_in)


def opened(*names: str, **fields: timedelta) -> SessionBook:
    book = SessionBook()
    for name in names:
        book.add(name, session(f"u-{name}"[:40], **fields))
    return book


@pytest.fixture
def store(inbox: Inbox) -> MinerSessions:
    return MinerSessions(inbox.engine)


def rows(inbox: Inbox) -> int:
    with inbox.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(sessions)).scalar_one()


def test_w_6_a_session_outlives_the_process_and_belongs_to_hotkey_and_address(inbox: Inbox, inbox_url: str) -> None:
    MinerSessions(inbox.engine).save(opened(PEER), NOON)
    others = [
        peer_name("own", Hotkey("other"), "http://1.2.3.4:5"),
        peer_name("own", Hotkey("miner"), "http://1.2.3.4:6"),
        peer_name("other", Hotkey("miner"), "http://1.2.3.4:5"),
    ]
    again = Inbox.open(inbox_url)
    book = MinerSessions(again.engine).load([PEER, *others], NOON)
    again.engine.dispose()
    assert book.get(PEER) == Session(b"k" * 44, f"u-{PEER}"[:40], NOON + SESSION_TTL)
    assert [book.get(other) for other in others] == [None] * 3


def test_an_expired_session_is_not_used_and_pruned_by_the_next_save(store: MinerSessions, inbox: Inbox) -> None:
    store.save(opened(PEER, "b"), NOON)
    later = NOON + SESSION_TTL
    assert store.load([PEER], later - timedelta(seconds=1)).get(PEER)
    assert store.load([PEER], later).get(PEER) is None
    store.save(SessionBook(), later)
    assert rows(inbox) == 0


def test_a_session_stored_by_a_clock_that_was_ahead_is_not_used(store: MinerSessions) -> None:
    store.save(opened(PEER), NOON)
    assert store.load([PEER], NOON - timedelta(hours=1)).get(PEER) is None


def test_a_new_session_takes_the_place_of_the_old(store: MinerSessions, inbox: Inbox) -> None:
    store.save(opened(PEER), NOON)
    book = SessionBook()
    book.add(PEER, session("new"))
    store.save(book, NOON)
    found = store.load([PEER], NOON).get(PEER)
    assert found is not None
    assert (found.uuid, rows(inbox)) == ("new", 1)


def test_what_a_miner_refused_is_forgotten_and_nothing_else(store: MinerSessions) -> None:
    store.save(opened(PEER, "b"), NOON)
    book = store.load([PEER, "b"], NOON)
    book.drop(PEER)
    book.drop("nobody")
    store.save(book, NOON)
    assert store.load([PEER], NOON).get(PEER) is None
    assert store.load(["b"], NOON).get("b")


def test_a_refusal_does_not_take_what_another_run_has_opened_since(store: MinerSessions) -> None:
    store.save(opened(PEER), NOON)
    book = store.load([PEER], NOON)
    newer = SessionBook()
    newer.add(PEER, session("newer"))
    store.save(newer, NOON)
    book.drop(PEER)
    store.save(book, NOON)
    assert store.load([PEER], NOON).get(PEER) == session("newer")


def test_their_number_is_bounded(store: MinerSessions, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 3)
    store.save(opened("soonest", expires_in=timedelta(minutes=1)), NOON)
    store.save(opened("a", "b", "c"), NOON)
    assert rows(inbox) == 3
    assert store.load(["soonest"], NOON).get("soonest") is None


def test_sessions_that_others_opened_here_are_left_alone(store: MinerSessions, inbox: Inbox) -> None:
    row = {"role": "server", "peer": PEER, "uuid": "x", "symmetric_key": b"k", "expires_at": NOON}
    with inbox.engine.begin() as connection:
        connection.execute(sessions.insert().values(row))
    store.save(opened("a"), NOON + timedelta(days=1))
    assert rows(inbox) == 2
    assert store.load([PEER], NOON - timedelta(minutes=1)).get(PEER) is None


def test_a_key_is_not_shown() -> None:
    assert "kkk" not in repr(session())


API = "https://api.test/" + "long" * 200


def test_a_session_with_the_api_outlives_the_process(inbox: Inbox, inbox_url: str) -> None:
    ApiSessionStore(lambda: inbox.engine, "own").put(API, session())
    again = Inbox.open(inbox_url)
    assert ApiSessionStore(lambda: again.engine, "own").get(API) == session()
    again.engine.dispose()
    assert ApiSessionStore(lambda: inbox.engine, "other").get(API) is None
    assert ApiSessionStore(lambda: inbox.engine, "own").get("https://another.test") is None


def test_the_newest_session_with_the_api_takes_the_place_of_the_last(inbox: Inbox) -> None:
    kept = ApiSessionStore(lambda: inbox.engine, "own")
    kept.put(API, session("u-1"))
    kept.put(API, session("u-2"))
    assert rows(inbox) == 1
    kept.drop(API, "u-1")
    assert kept.get(API) == session("u-2")
    kept.drop(API, "u-2")
    assert kept.get(API) is None


def test_sessions_with_miners_and_with_the_api_do_not_meet(inbox: Inbox, store: MinerSessions) -> None:
    kept = ApiSessionStore(lambda: inbox.engine, "own")
    kept.put(PEER, session("u-api"))
    store.save(opened(PEER), NOON)
    assert kept.get(PEER) == session("u-api")
    assert store.load([PEER], NOON).get(PEER) == session(f"u-{PEER}"[:40])
