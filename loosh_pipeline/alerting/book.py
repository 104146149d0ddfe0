"""What was told of which alert: kept in a small file, so that neither a kill nor a restart loses or repeats one.

Whoever is killed between telling and writing that down tells once more; nothing is told never. What cannot be written
(a full disk) is still known as long as the process lives.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from loosh_pipeline.alerting.conditions import Alert, Severity, Source

logger = logging.getLogger(__name__)

FILE = "alerts.json"
SETTLED_S = 120.0
"""How long an alert must be gone before it is over: what comes and goes is one alert. Twice as long at each relapse."""
LONGEST_SETTLED_S = 3600.0
NEW_AFTER_S = 900.0
"""How soon one alert is told to be new again, however often it is over."""
REMEMBERED_S = 7200.0
"""How long what is over counts as the same when it comes back."""
GROWN_AFTER_S = 900.0
"""How soon it is told that more of the same has happened."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An alert since it stands. `told_at` None: nobody was told yet; `told_count`, `told_newest`: what it counted then,
    and the newest of it. `new_at`: when it was last told to be new; `over_at`: to be over; `relapses`: how often it
    came back after that.
    """

    alert: Alert
    since: datetime
    seen_at: datetime
    told_at: datetime | None = None
    told_count: int = 0
    told_newest: str = ""
    new_at: datetime | None = None
    over_at: datetime | None = None
    relapses: int = 0

    @property
    def stood_long_enough(self) -> bool:
        return (self.seen_at - self.since).total_seconds() >= self.alert.after_s

    def gone(self, now: datetime) -> bool:
        """Whether it has not been seen for so long that it is over."""
        gone_s = (now - self.seen_at).total_seconds()
        settled_s = min(SETTLED_S * 2.0 ** min(self.relapses, 10), LONGEST_SETTLED_S)
        return gone_s >= settled_s or gone_s < 0


@dataclass(frozen=True, slots=True)
class Telling:
    """What is due to be told: keys of alerts that are new, that still stand or have grown, that are over, and that were
    over before anybody could be told.
    """

    new: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    was: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.again or self.over or self.was)


@dataclass(frozen=True, slots=True)
class Hook:
    """How telling goes. `failing_since` None: the last time it worked, or nothing was told yet."""

    told_at: datetime | None = None
    failing_since: datetime | None = None
    said: str = ""
    attempts: int = 0
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Book:
    """Everything that stands or was told to, by key."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    hook: Hook = Hook()


def noted(book: Book, alerts: Sequence[Alert], now: datetime, blind: Collection[Source] = ()) -> Book:
    """The book after a look. What did not stand long enough is forgotten when it is over, what should have been told is
    not; of a source that could not be looked at, everything stands.
    """
    entries = {alert.key: _seen(book.entries.get(alert.key), alert, now) for alert in alerts}
    for key, entry in book.entries.items():
        if key in entries:
            continue
        if entry.over_at is not None:
            if 0 <= (now - entry.over_at).total_seconds() < REMEMBERED_S:
                entries[key] = entry
        elif entry.alert.source in blind:
            entries[key] = replace(entry, since=min(entry.since, now), seen_at=now)
        elif entry.told_at is not None or entry.stood_long_enough or not entry.gone(now):
            entries[key] = entry
    return replace(book, entries=entries)


def _seen(before: Entry | None, alert: Alert, now: datetime) -> Entry:
    if before is None:
        return Entry(alert, now, now)
    if before.over_at is not None:
        return Entry(alert, now, now, new_at=before.new_at, relapses=before.relapses + 1)
    return replace(before, alert=alert, since=min(before.since, now), seen_at=now)  # a clock may be set back


def due(book: Book, now: datetime, repeat: timedelta) -> Telling:
    """What is to be told at the moment of a look. A clock that was set back postpones nothing."""
    new, again, over, was = [], [], [], []
    for key, entry in book.entries.items():
        stands = entry.seen_at == now
        if entry.over_at is not None:
            continue
        if entry.told_at is None:
            if not entry.stood_long_enough or not _past(entry.new_at, now, timedelta(seconds=NEW_AFTER_S)):
                continue
            if stands:
                new.append(key)
            elif entry.gone(now):
                was.append(key)
        elif not stands:
            if entry.gone(now):
                over.append(key)
        elif _past(entry.told_at, now, repeat) or (
            _grown(entry) and _past(entry.told_at, now, timedelta(seconds=GROWN_AFTER_S))
        ):
            again.append(key)
    return Telling(tuple(new), tuple(again), tuple(over), tuple(was))


def _past(at: datetime | None, now: datetime, wait: timedelta) -> bool:
    return at is None or now - at >= wait or now < at


def _grown(entry: Entry) -> bool:
    return entry.alert.count > entry.told_count or entry.alert.newest != entry.told_newest


def told(book: Book, telling: Telling, now: datetime) -> Book:
    """The book after it was told: what is over is remembered for a while, as it may come back."""
    entries = dict(book.entries)
    for key in (*telling.new, *telling.again):
        alert = entries[key].alert
        entries[key] = replace(entries[key], told_at=now, told_count=alert.count, told_newest=alert.newest)
    for key in (*telling.new, *telling.was):
        entries[key] = replace(entries[key], new_at=now)
    for key in (*telling.over, *telling.was):
        entries[key] = replace(entries[key], over_at=now)
    return Book(entries, Hook(told_at=now))


def read(home: Path) -> Book:
    """The book as it was kept; an empty one where it cannot be read, so that everything is told once more."""
    try:
        return _book(json.loads((home / FILE).read_text()))
    except FileNotFoundError:
        return Book()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        logger.warning("%s cannot be read (%s); what stands is told once more", home / FILE, error)
        return Book()


def keep(home: Path, book: Book) -> str | None:
    """Write the book, whole or not at all; why it could not be, else None."""
    file = home / FILE
    temporary = file.with_name(f".{FILE}.{os.getpid()}")
    try:
        with open(temporary, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as written:
            json.dump(_plain(book), written, indent=1)
            written.flush()
            os.fsync(written.fileno())
        temporary.replace(file)
    except OSError as error:
        return str(error)
    return None


def _plain(book: Book) -> dict[str, Any]:
    entries = {
        key: {
            "source": entry.alert.source,
            "severity": entry.alert.severity,
            "text": entry.alert.text,
            "action": entry.alert.action,
            "count": entry.alert.count,
            "after_s": entry.alert.after_s,
            "since": entry.since.isoformat(),
            "seen_at": entry.seen_at.isoformat(),
            "told_at": _iso(entry.told_at),
            "told_count": entry.told_count,
            "newest": entry.alert.newest,
            "told_newest": entry.told_newest,
            "new_at": _iso(entry.new_at),
            "over_at": _iso(entry.over_at),
            "relapses": entry.relapses,
        }
        for key, entry in book.entries.items()
    }
    hook = book.hook
    return {
        "alerts": entries,
        "webhook": {
            "told_at": _iso(hook.told_at),
            "failing_since": _iso(hook.failing_since),
            "said": hook.said,
            "attempts": hook.attempts,
            "next_at": _iso(hook.next_at),
        },
    }


def _book(stored: Mapping[str, Any]) -> Book:
    entries = {
        key: Entry(
            Alert(
                key,
                Source(each["source"]),
                Severity(each["severity"]),
                each["text"],
                each["action"],
                int(each["count"]),
                float(each["after_s"]),
                str(each.get("newest", "")),
            ),
            _aware(each["since"]),
            _aware(each["seen_at"]),
            _time(each["told_at"]),
            int(each["told_count"]),
            str(each.get("told_newest", "")),
            _time(each.get("new_at")),
            _time(each.get("over_at")),
            int(each.get("relapses", 0)),
        )
        for key, each in stored["alerts"].items()
    }
    hook = stored["webhook"]
    return Book(
        entries,
        Hook(
            _time(hook["told_at"]),
            _time(hook["failing_since"]),
            str(hook["said"]),
            int(hook["attempts"]),
            _time(hook["next_at"]),
        ),
    )


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else _aware(text)


def _aware(text: str) -> datetime:
    """Raises ValueError for a time without a zone, with which nothing could be compared."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"the time {text} has no zone")
    return at
