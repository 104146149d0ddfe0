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
"""How long an alert must be gone before it is told to be over: what comes and goes is one alert."""
GROWN_AFTER_S = 900.0
"""How soon it is told that more of the same has happened."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An alert since it stands. `told_at` None: nobody was told yet; `told_count`: what it counted then."""

    alert: Alert
    since: datetime
    seen_at: datetime
    told_at: datetime | None = None
    told_count: int = 0


@dataclass(frozen=True, slots=True)
class Telling:
    """What is due to be told: keys of alerts that are new, that still stand or have grown, and that are over."""

    new: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    over: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.again or self.over)


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
    """The book after a look. What nobody was told of is forgotten when it is over; of a source that could not be
    looked at, everything stands.
    """
    entries: dict[str, Entry] = {}
    for alert in alerts:
        before = book.entries.get(alert.key)
        entries[alert.key] = Entry(alert, now, now) if before is None else replace(before, alert=alert, seen_at=now)
    for key, entry in book.entries.items():
        if key in entries:
            continue
        if entry.alert.source in blind:
            entries[key] = replace(entry, seen_at=now)
        elif entry.told_at is not None:
            entries[key] = entry
    return replace(book, entries=entries)


def due(book: Book, now: datetime, repeat: timedelta) -> Telling:
    """What is to be told at the moment of a look. A clock that was set back postpones nothing."""
    new, again, over = [], [], []
    for key, entry in book.entries.items():
        stands, gone_s = entry.seen_at == now, (now - entry.seen_at).total_seconds()
        if entry.told_at is None:
            if stands and (now - entry.since).total_seconds() >= entry.alert.after_s:
                new.append(key)
        elif not stands:
            if gone_s >= SETTLED_S or gone_s < 0:
                over.append(key)
        elif _long_ago(entry, now, repeat):
            again.append(key)
    return Telling(tuple(new), tuple(again), tuple(over))


def _long_ago(entry: Entry, now: datetime, repeat: timedelta) -> bool:
    assert entry.told_at is not None
    ago = now - entry.told_at
    grown = entry.alert.count > entry.told_count
    return ago >= repeat or ago < timedelta(0) or (grown and ago >= timedelta(seconds=GROWN_AFTER_S))


def told(book: Book, telling: Telling, now: datetime) -> Book:
    """The book after it was told: what is over is forgotten."""
    entries = {key: entry for key, entry in book.entries.items() if key not in telling.over}
    for key in (*telling.new, *telling.again):
        entries[key] = replace(entries[key], told_at=now, told_count=entries[key].alert.count)
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
        with temporary.open("w") as written:
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
            ),
            datetime.fromisoformat(each["since"]),
            datetime.fromisoformat(each["seen_at"]),
            _time(each["told_at"]),
            int(each["told_count"]),
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
    return None if text is None else datetime.fromisoformat(text)
