"""Telling what is due: one message at a time, not too often, again later when it was not taken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from loosh_pipeline.alerting import book as books
from loosh_pipeline.alerting.book import Book, Hook, due, noted, told
from loosh_pipeline.alerting.conditions import Seen, standing_alerts
from loosh_pipeline.alerting.message import body
from loosh_pipeline.alerting.webhook import Sent
from loosh_pipeline.redaction import Redact
from loosh_pipeline.store.inbox import pause_s

logger = logging.getLogger(__name__)

PAUSE = timedelta(seconds=30)
"""Between two messages, whatever happens."""
FIRST_RETRY_S = 15.0
LONGEST_RETRY_S = 900.0

Send = Callable[[Mapping[str, object]], Sent]


class Teller:
    """Keeps the book of one validator. `send` None: nobody is told, and `loosh alerts` shows what stands."""

    def __init__(self, home: Path, who: str, repeat: timedelta, send: Send | None, redact: Redact) -> None:
        self._home, self._who, self._repeat = home, who, repeat
        self._send, self._redact = send, redact
        self.book = books.read(home)
        self._kept = self.book
        self._not_kept: str | None = None

    def take(self, seen: Seen) -> None:
        """Note what was seen, tell what is due, and keep both."""
        alerts = [replace(alert, text=self._redact(alert.text)) for alert in standing_alerts(seen)]
        self.book = noted(self.book, alerts, seen.now, seen.blind)
        telling = due(self.book, seen.now, self._repeat)
        failing_since = self.book.hook.failing_since
        if (telling or failing_since) and self._send is not None and _may(self.book.hook, seen.now):
            self._keep()  # before: who is killed while telling knows since when it stands
            sent = self._send(body(self._who, self.book, telling, self._redact))
            if sent.ok and failing_since is not None:
                logger.info("alerts can be told again")
            self.book = told(self.book, telling, seen.now) if sent.ok else self._failed(sent, seen.now)
        self._keep()

    def _failed(self, sent: Sent, now: datetime) -> Book:
        hook, said = self.book.hook, self._redact(sent.said)
        if hook.failing_since is None:
            logger.warning("alerts cannot be told, and are tried again: %s", said)
        wait_s = max(pause_s(hook.attempts + 1, FIRST_RETRY_S, LONGEST_RETRY_S), sent.retry_after_s)
        failing = replace(
            hook,
            failing_since=hook.failing_since or now,
            said=said,
            attempts=hook.attempts + 1,
            next_at=now + timedelta(seconds=wait_s),
        )
        return replace(self.book, hook=failing)

    def _keep(self) -> None:
        if self.book == self._kept:
            return
        problem = books.keep(self._home, self.book)
        if problem is None:
            self._kept = self.book
        elif self._not_kept is None:
            logger.warning("what was told of alerts cannot be written, and is only remembered: %s", problem)
        self._not_kept = problem


def _may(hook: Hook, now: datetime) -> bool:
    """Whether a message may be sent now: after the pause, and after what a receiver asked for."""
    waited = hook.told_at is None or not timedelta(0) <= now - hook.told_at < PAUSE
    longest = timedelta(seconds=max(LONGEST_RETRY_S, 3600.0))
    return waited and (hook.next_at is None or now >= hook.next_at or hook.next_at - now > longest)
