"""Nonces are used once, and forgotten when they are too old to matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import NonceUsed
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.nonces import Nonce, Nonces
from loosh_pipeline.store.probe import check_writable

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def nonce(value: str, alive_s: float = 60.0) -> Nonce:
    return Nonce(Hotkey("5A"), value, NOW + timedelta(seconds=alive_s))


def test_w_17_nonces_survive_a_restart(inbox_url: str) -> None:
    Nonces(Inbox.open(inbox_url).engine).use(nonce("1.5"))
    again = Nonces(Inbox.open(inbox_url).engine)
    with pytest.raises(NonceUsed, match=r"'1\.5' was used before"):
        again.use(nonce("1.5"))
    again.use(nonce("2.5"))


def test_w_18_nonces_do_not_grow_for_ever(inbox_url: str) -> None:
    nonces = Nonces(Inbox.open(inbox_url).engine)
    for number in range(5):
        nonces.use(nonce(str(number), alive_s=number))
    assert nonces.forget(NOW + timedelta(seconds=3)) == 2
    with pytest.raises(NonceUsed):
        nonces.use(nonce("3"))


def test_a_probe_writes_and_leaves_one_row(inbox_url: str) -> None:
    inbox = Inbox.open(inbox_url)
    for _ in range(3):
        check_writable(inbox.engine, NOW)
    assert inbox.is_running()
