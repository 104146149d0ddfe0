"""Whether Dagster's history is kept as small as settings say: for the doctor and for alerts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.retention_notes import Kept, RetentionNotes

TOO_MANY = 1.1
"""How many times RETAIN_CHALLENGES Dagster may show before a day is over; more is told."""
OVERDUE_AFTER = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Overdue:
    """What is wrong. `for_good`: nothing will change it by itself, so that nobody need wait and see."""

    text: str
    for_good: bool = True


def overdue_of(inbox: Inbox, most: int, now: datetime) -> Overdue | None:
    """What is wrong with retention, from what it noted; None while nothing is. `most`: RETAIN_CHALLENGES."""
    notes = RetentionNotes(inbox.engine)
    return overdue(notes.pruned_at(), notes.kept_challenges(), inbox.oldest_received(), most, now)


def overdue(
    pruned_at: datetime | None, kept: Kept | None, began_at: datetime | None, most: int, now: datetime
) -> Overdue | None:
    """The same from figures. `began_at`: when the first challenge came, which counts before it was ever pruned."""
    if kept is not None and kept.count > TOO_MANY * most:
        return Overdue(
            f"Dagster shows {kept.count:,} challenges after pruning, and RETAIN_CHALLENGES={most} are to be kept; "
            f"held by: {kept.held_by}"
        )
    since = pruned_at or began_at
    if since is None or now - since <= OVERDUE_AFTER:
        return None
    ago = f"for {(now - since).total_seconds() / 86400:.0f} days" if pruned_at else "yet"
    return Overdue(f"Dagster's history has not been pruned to the end {ago}", for_good=pruned_at is not None)
