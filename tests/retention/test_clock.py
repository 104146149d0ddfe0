"""A clock that jumped ahead is believed after it has stood for most of a day, and makes nothing old until then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loosh_pipeline.retention.clock import trusted_now
from loosh_pipeline.store.inbox import Inbox

NOW = datetime(2026, 11, 26, 3, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox.open(f"sqlite:///{tmp_path}/validator.db")
    yield inbox
    inbox.engine.dispose()


def test_days_that_pass_are_believed(inbox: Inbox) -> None:
    for number in range(5):
        assert trusted_now(inbox, NOW + number * DAY) == NOW + number * DAY


def test_a_jump_is_not_and_is_over_when_the_clock_is_set_right(inbox: Inbox) -> None:
    trusted_now(inbox, NOW)
    for hours in (0, 1, 19):
        assert trusted_now(inbox, NOW + 30 * DAY + hours * HOUR) == NOW
    assert trusted_now(inbox, NOW + DAY) == NOW + DAY
    assert trusted_now(inbox, NOW + 30 * DAY) == NOW + DAY, "and the next one is a jump again"


def test_after_a_long_rest_it_is_believed_the_next_day(inbox: Inbox) -> None:
    trusted_now(inbox, NOW)
    assert trusted_now(inbox, NOW + 30 * DAY) == NOW
    assert trusted_now(inbox, NOW + 31 * DAY) == NOW + 31 * DAY
    assert trusted_now(inbox, NOW + 32 * DAY) == NOW + 32 * DAY


def test_a_jump_after_a_jump_begins_anew(inbox: Inbox) -> None:
    trusted_now(inbox, NOW)
    assert trusted_now(inbox, NOW + 30 * DAY) == NOW
    assert trusted_now(inbox, NOW + 60 * DAY) == NOW
    assert trusted_now(inbox, NOW + 61 * DAY) == NOW + 61 * DAY


def test_a_clock_that_is_set_back_is_believed(inbox: Inbox) -> None:
    trusted_now(inbox, NOW)
    assert trusted_now(inbox, NOW - 5 * DAY) == NOW - 5 * DAY
