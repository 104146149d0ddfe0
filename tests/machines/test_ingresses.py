"""Several ingresses behind a proxy: a challenge may come to another one than its key exchange."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bittensor_core import Keypair
from sqlalchemy import Engine, func, select
from starlette.exceptions import HTTPException

from ingress.handshakes import Handshakes
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.database import open_database, reading
from loosh_pipeline.store.nonces import Nonce, Nonces
from loosh_pipeline.store.push_sessions import PushSession, PushSessions
from loosh_pipeline.store.schema import ingress_keys, sessions
from loosh_pipeline.store.shared_places import check_shared
from loosh_pipeline.store.users import Users
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import encrypt_symmetric_key, load_public_key, new_symmetric_key
from loosh_pipeline.wire.messages import KeyExchange
from loosh_pipeline.wire.push import build_push_key_exchange, parse_push_key_exchange

PUSHER = Keypair.create_from_uri("//loosh-tests//pusher")
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def settings(own_home: Path, database_url: str, tmp_path: Path) -> Settings:
    shared = {"tables_dir": str(tmp_path / "t"), "heatmaps_dir": tmp_path / "h"}
    known = (PUSHER.ss58_address,)
    return Settings(database_url=database_url, celery_broker_url="redis://h/0", intake_hotkeys=known, **shared)


@pytest.fixture
def two(settings: Settings, engine: Engine) -> Iterator[tuple[Handshakes, Handshakes]]:
    with ExitStack() as stack:
        pair = [Handshakes(settings, Nonces(engine), shared=PushSessions(engine, 100)) for _ in range(2)]
        for each in pair:
            stack.callback(each.close)
        yield pair[0], pair[1]


def exchanged(public_pem: str, key: bytes, key_uuid: str = "u-1") -> KeyExchange:
    ciphertext = encrypt_symmetric_key(load_public_key(public_pem), key)
    return parse_push_key_exchange(
        encode_json(build_push_key_exchange(PUSHER, key_uuid, ciphertext, timestamp_s=time.time()))
    )


def opened(handshakes: Handshakes, exchange: KeyExchange, signed: bool = True) -> None:
    nonce = Nonce(exchange.hotkey, exchange.once, datetime.now(UTC) + timedelta(minutes=1)) if signed else None
    asyncio.run(handshakes.open(exchange, nonce, "192.0.2.1"))


def found(handshakes: Handshakes, key_uuid: str = "u-1") -> tuple[bytes | None, bool]:
    return asyncio.run(handshakes.session(PUSHER.ss58_address, key_uuid))


@pytest.mark.parametrize("signed", [True, False])
def test_a_session_opened_at_one_is_open_at_the_other(two: tuple[Handshakes, Handshakes], signed: bool) -> None:
    one, other = two
    assert one.public_pem == other.public_pem
    key = new_symmetric_key()
    opened(other, exchanged(one.public_pem, key), signed)
    assert found(one) == found(other) == (key, signed)
    assert one.session_key(PUSHER.ss58_address, "u-1") == (key, signed), "and is known there from now on"


def test_an_exchange_is_good_once_at_all_of_them(two: tuple[Handshakes, Handshakes]) -> None:
    exchange = exchanged(two[0].public_pem, new_symmetric_key())
    opened(two[0], exchange)
    with pytest.raises(HTTPException, match="used before"):
        opened(two[1], exchange)


def test_a_key_that_was_replaced_elsewhere_is_found(two: tuple[Handshakes, Handshakes]) -> None:
    one, other = two
    old, new = new_symmetric_key(), new_symmetric_key()
    opened(one, exchanged(one.public_pem, old))
    opened(other, exchanged(one.public_pem, new))
    assert asyncio.run(one.opened_elsewhere(PUSHER.ss58_address, "u-1", but=old)) == (new, True)
    assert asyncio.run(one.opened_elsewhere(PUSHER.ss58_address, "u-1", but=new)) == (None, False)


def test_strangers_cost_no_question(two: tuple[Handshakes, Handshakes], monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(PushSessions, "find", asked)
    stranger = Keypair.create_from_uri("//stranger").ss58_address
    for hotkey, key_uuid in ((stranger, "u-1"), (PUSHER.ss58_address, "u" * 200), (PUSHER.ss58_address, "u\n")):
        assert asyncio.run(two[0].session(hotkey, key_uuid)) == (None, False)


def test_however_many_start_together_there_is_one_key_pair(engine: Engine) -> None:
    shared = PushSessions(engine, 10)
    with ThreadPoolExecutor(4) as pool:
        pairs = list(pool.map(lambda _: shared.key_pair(NOW), range(4)))
    assert len({pair.private_numbers() for pair in pairs}) == 1
    with engine.begin() as connection:
        connection.execute(ingress_keys.update().values(private_pem=b"no key"))
    with pytest.raises(StoreError, match="delete that row and restart"):
        shared.key_pair(NOW)


def test_sessions_end_and_of_too_many_the_oldest_give_way(engine: Engine) -> None:
    shared = PushSessions(engine, 3)
    for number in range(6):
        until = NOW + timedelta(minutes=number)
        shared.put("5Hotkey", f"u-{number}", PushSession(b"k", True, until), NOW - timedelta(hours=1))
    shared.put("5Hotkey", "u-0", PushSession(b"k", False, NOW + timedelta(hours=1)), NOW)
    assert [n for n in range(6) if shared.find("5Hotkey", f"u-{n}", NOW) is not None] == [0, 3, 4, 5]
    assert (shared.find("5Hotkey", "u-0", NOW) or pytest.fail("it is open")).signed is False
    assert shared.find("5Hotkey", "u-3", NOW + timedelta(minutes=3)) is None
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(sessions)).scalar_one() == 4


def test_keys_of_sessions_that_are_over_do_not_stay(engine: Engine) -> None:
    shared = PushSessions(engine, 3)
    shared.put("5Hotkey", "u-1", PushSession(b"k", True, NOW + timedelta(minutes=1)), NOW)
    shared.put("5Hotkey", "u-2", PushSession(b"k", True, NOW + timedelta(minutes=9)), NOW)
    Nonces(engine).forget(NOW + timedelta(minutes=5))
    with reading(engine) as connection:
        assert list(connection.execute(select(sessions.c.uuid)).scalars()) == ["u-2"]


def test_users_of_a_file_are_taken_along_once(tmp_path: Path, database_url: str) -> None:
    file = tmp_path / "users.db"
    before = Users(open_database(f"sqlite:///{file}", "users"))
    before.register(Hotkey("5Before"), NOW)
    users = Users.open(database_url)
    users.register(Hotkey("5New"), NOW)
    assert [users.take_along(file), users.take_along(file), users.take_along(tmp_path / "none.db")] == [1, 0, 0]
    assert users.count() == 2


def test_a_directory_that_is_not_mounted_is_told(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    check_shared(settings, engine, NOW)
    check_shared(settings, engine, NOW)
    (tmp_path / "h").rename(tmp_path / "moved")
    check_shared(settings.model_copy(update={"heatmaps_dir": tmp_path / "moved"}), engine, NOW)
    with pytest.raises(StoreError, match=r"HEATMAPS_DIR\) is not the directory that other machines"):
        check_shared(settings, engine, NOW)
    assert not (tmp_path / "h").exists(), "nothing is left in the mount point"
