from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import select

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.schema import users as table
from loosh_pipeline.store.users import Users
from tests.builders import NOON


def test_registering_again_keeps_the_first_time_and_notes_the_last(inbox_url: str) -> None:
    users = Users.open(inbox_url)
    later = NOON + timedelta(hours=1)
    users.register(Hotkey("a"), NOON)
    users.register(Hotkey("a"), later)
    users.register(Hotkey("b"), later)
    assert users.count() == 2
    with reading(users._engine) as connection:
        rows = connection.execute(select(table).order_by(table.c.hotkey)).all()
    assert [tuple(row) for row in rows] == [("a", NOON, later), ("b", later, later)]
    users._engine.dispose()


def test_one_hotkey_registered_by_many_at_once_is_one_user(inbox_url: str) -> None:
    users = Users.open(inbox_url)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: users.register(Hotkey("a"), NOON), range(12)))
    assert users.count() == 1
    users._engine.dispose()
