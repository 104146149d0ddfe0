"""What time it is for deleting by age: a clock that is ahead must not make everything old.

Retention looks at least once a day, and remembers the last moment that it believed. A clock that is days ahead of it
was set wrong, or the validator was off: both look alike. So such a clock is believed only when it has stood for most of
a day, which leaves time to set it right (`loosh doctor` compares it with others); until then it is as late as it was.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.retention_notes import RetentionNotes

A_JUMP = timedelta(days=2)
"""Longer than there is between two looks of a validator that runs."""
BELIEVED_AFTER, FORGOTTEN_AFTER = timedelta(hours=20), timedelta(days=3)
"""How long a clock that jumped must have stood; what it said longer ago is another jump."""


def trusted_now(inbox: Inbox, clock: datetime) -> datetime:
    """The clock; or the last moment that was believed, while the clock has only just jumped ahead of it.

    Whoever deletes by age asks here. Notes in the inbox what it was asked; before the first time, the newest challenge
    stands for it.
    """
    notes = RetentionNotes(inbox.engine)
    noted = notes.clock()
    believed = noted.at if noted else inbox.newest_received() or clock
    since = datetime.fromisoformat(noted.value) if noted and noted.value else None
    if clock - believed <= A_JUMP or (since and BELIEVED_AFTER <= clock - since <= FORGOTTEN_AFTER):
        notes.note_clock(clock, None)
        return clock
    if since is None or not timedelta(0) <= clock - since <= FORGOTTEN_AFTER:
        notes.note_clock(believed, clock)
    return believed
