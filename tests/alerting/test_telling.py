"""Telling over real sockets: what a receiver may answer, and what a kill or a full disk may not undo."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from loosh_pipeline.alerting import book as books
from loosh_pipeline.alerting.conditions import Seen
from loosh_pipeline.alerting.telling import LONGEST_RETRY_S, PAUSE, Teller
from loosh_pipeline.alerting.webhook import Sent, send
from loosh_pipeline.redaction import Redactor
from tests.alerting.receiver import Answer, Receiver

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
WITHIN_S = 5.0

MakeTeller = Callable[..., Teller]


def seen(seconds: float, parked: int = 1) -> Seen:
    return Seen(START + timedelta(seconds=seconds), parked_challenges=parked, parked_example="c-1: died")


@pytest.fixture
def teller(tmp_path: Path, receiver: Receiver) -> MakeTeller:
    def make(url: str | None = None, within_s: float = WITHIN_S) -> Teller:
        target = url or receiver.url
        redact = Redactor(["c4nary-hook-key-of-an-operator"])
        return Teller(tmp_path, "validator", timedelta(hours=6), partial(send, target, within_s=within_s), redact)

    return make


def test_an_alert_is_told_once_and_when_it_is_over(teller: MakeTeller, receiver: Receiver) -> None:
    mine = teller()
    for seconds in (0, 15, 30):
        mine.take(seen(seconds))
    mine.take(seen(45, parked=0))
    mine.take(seen(170, parked=0))
    assert [text.splitlines()[0] for text in receiver.texts] == ["validator: 1 new", "validator: 1 over"]


def test_nothing_wrong_sends_nothing(teller: MakeTeller, receiver: Receiver) -> None:
    teller().take(seen(0, parked=0))
    assert receiver.bodies == []


@pytest.mark.parametrize(
    "answer",
    [Answer(500, b"oops"), Answer(404, b"no_service"), Answer(302, headers={"Location": "http://127.0.0.1:1/"})],
)
def test_what_was_not_taken_is_sent_again_later_and_logged_once(
    teller: MakeTeller, receiver: Receiver, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.script = [answer] * 2
    mine = teller()
    for seconds in (0, 5, 16, 20, 50):
        mine.take(seen(seconds))
    assert len(receiver.bodies) == 3, "at 0, 15 s and 30 s after that"
    assert caplog.text.count("alerts cannot be told") == 1
    assert str(answer.status) in caplog.text
    assert mine.book.hook == books.Hook(told_at=START + timedelta(seconds=50))


def test_a_receiver_that_asks_for_patience_gets_it(teller: MakeTeller, receiver: Receiver) -> None:
    receiver.script = [Answer(429, b"rate_limited", {"Retry-After": "120"})]
    mine = teller()
    for seconds in (0, 60, 119, 121):
        mine.take(seen(seconds))
    assert len(receiver.bodies) == 2


def test_a_receiver_that_hangs_costs_its_time_and_no_more(teller: MakeTeller, receiver: Receiver) -> None:
    held = threading.Event()
    receiver.script = [Answer(wait=held.wait)]
    mine = teller(within_s=0.1)
    mine.take(seen(0))
    held.set()
    assert "did not answer within 0.1 s" in mine.book.hook.said


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/c4nary-hook-key-of-an-operator", "http://[/", "https://127.0.0.1:1"]
)
def test_a_wrong_address_is_said_without_it(teller: MakeTeller, url: str) -> None:
    mine = teller(url)
    mine.take(seen(0))
    assert "cannot be reached" in mine.book.hook.said
    assert "c4nary" not in mine.book.hook.said
    assert mine.book.hook.failing_since == START


def test_what_a_receiver_says_is_kept_without_the_key(
    teller: MakeTeller, receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.script = [Answer(403, b"c4nary-hook-key-of-an-operator is no hook\n\x1b[31m" + b"x" * 10_000)]
    mine = teller()
    mine.take(seen(0))
    kept = (tmp_path / books.FILE).read_text()
    assert "c4nary" not in kept + caplog.text
    assert len(kept) < 2000
    assert mine.book.hook.said.isprintable()


def test_what_passed_while_the_webhook_was_away_is_told_and_the_webhook_is_well(
    teller: MakeTeller, receiver: Receiver
) -> None:
    receiver.script = [Answer(503)] * 8
    mine = teller()
    for seconds in range(0, 7200, 15):
        mine.take(seen(seconds, parked=int(seconds < 60)))
    assert "was, from 2026-11-26 12:00 to 2026-11-26 12:00 UTC) 1 challenges are given up" in receiver.texts[-1]
    assert mine.book.hook.failing_since is None


def test_a_webhook_that_failed_is_well_again_though_nothing_is_due(teller: MakeTeller, receiver: Receiver) -> None:
    receiver.script = [Answer(200), Answer(503)]
    mine = teller()
    for seconds, parked in ((0, 1), (901, 2), (1000, 1)):
        mine.take(seen(seconds, parked))
    assert receiver.texts[-1] == "validator: alerts can be told again"
    assert mine.book.hook.failing_since is None


def test_the_book_holds_no_secret(tmp_path: Path) -> None:
    mine = Teller(tmp_path, "validator", timedelta(hours=6), None, Redactor(["canary-key"]))
    mine.take(Seen(START, parked_challenges=1, parked_example="c-1: refused with canary-key"))
    assert "canary" not in (tmp_path / books.FILE).read_text()


def test_retries_are_never_farther_apart_than_a_quarter_of_an_hour(tmp_path: Path) -> None:
    tried: list[float] = []
    now_s = 0.0

    def refuse(_: object) -> Sent:
        tried.append(now_s)
        return Sent(False, "no")

    mine = Teller(tmp_path, "validator", timedelta(hours=6), refuse, Redactor())
    while now_s < 7200:
        mine.take(seen(now_s))
        now_s += 15
    assert max(b - a for a, b in itertools.pairwise(tried)) <= LONGEST_RETRY_S + 15
    assert len(tried) < 20


def test_a_flood_of_alerts_is_one_message_a_pause(teller: MakeTeller, receiver: Receiver) -> None:
    mine = teller()
    for seconds in range(0, 60, 5):
        deliveries = {f"kind-{number}": 1 for number in range(seconds)}
        mine.take(Seen(START + timedelta(seconds=seconds), parked_challenges=1, parked_deliveries=deliveries))
    assert len(receiver.bodies) == 60 / PAUSE.total_seconds()


def test_who_is_killed_after_telling_does_not_tell_again(teller: MakeTeller, receiver: Receiver) -> None:
    teller().take(seen(0))
    teller().take(seen(15))
    assert len(receiver.bodies) == 1


def test_who_is_killed_while_telling_tells_again(tmp_path: Path, receiver: Receiver, teller: MakeTeller) -> None:
    class Killed(BaseException):
        """As if by a signal."""

    def killed(body: dict[str, object]) -> Sent:
        send(receiver.url, body)
        raise Killed

    first = Teller(tmp_path, "validator", timedelta(hours=6), killed, Redactor())  # type: ignore[arg-type]
    with pytest.raises(Killed):
        first.take(seen(0))
    teller().take(seen(15))
    assert len(receiver.bodies) == 2, "at least once"
    assert teller().book.entries["parked:challenges"].since == START


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A disk that takes nothing while this holds a word."""
    said = ["No space left on device"]
    real = books.keep
    monkeypatch.setattr(books, "keep", lambda home, book: said[0] if said else real(home, book))
    return said


def test_a_full_disk_neither_hides_nor_repeats_an_alert(
    teller: MakeTeller, receiver: Receiver, full: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = teller()
    for seconds in (0, 15, 60, 120):
        mine.take(seen(seconds))
    assert len(receiver.bodies) == 1
    assert caplog.text.count("cannot be written") == 1
    full.clear()
    mine.take(seen(135))
    assert books.read(tmp_path) == mine.book


def test_without_a_webhook_the_book_says_that_nobody_was_told(tmp_path: Path) -> None:
    mine = Teller(tmp_path, "validator", timedelta(hours=6), None, Redactor())
    mine.take(seen(0))
    mine.take(seen(60))
    (entry,) = mine.book.entries.values()
    assert (entry.since, entry.told_at) == (START, None)
