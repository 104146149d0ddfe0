"""What retention notes of its work, for itself and for whoever looks whether it does it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from loosh_pipeline.store.database import reading
from loosh_pipeline.store.flags import Noted, flag, set_flag

PRUNED, KEPT, CLOCK = "pruned", "kept_challenges", "retention_clock"


@dataclass(frozen=True, slots=True)
class Kept:
    """How many challenges Dagster shows after what was due was pruned, and what held those that stayed."""

    count: int
    held_by: str


def pruned_at(connection: Connection) -> datetime | None:
    """When Dagster's history was last pruned to the end; None when it never was."""
    noted = flag(connection, PRUNED)
    return noted and noted.at


def kept_challenges(connection: Connection) -> Kept | None:
    """What retention left when it last looked at all that was due; None before it did."""
    noted = flag(connection, KEPT)
    if noted is None:
        return None
    count, _, held_by = noted.value.partition(" ")
    return Kept(int(count), held_by)


class RetentionNotes:
    """Every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pruned_at(self) -> datetime | None:
        with reading(self._engine) as connection:
            return pruned_at(connection)

    def note_pruned(self, now: datetime) -> None:
        """Dagster's history was pruned to the end."""
        self._note(PRUNED, "true", now)

    def kept_challenges(self) -> Kept | None:
        with reading(self._engine) as connection:
            return kept_challenges(connection)

    def note_kept(self, kept: Kept, now: datetime) -> None:
        """What a look at all challenges that were due left."""
        self._note(KEPT, f"{kept.count} {kept.held_by}", now)

    def clock(self) -> Noted | None:
        """The last moment that was believed, and since when another stands that is not yet."""
        with reading(self._engine) as connection:
            return flag(connection, CLOCK)

    def note_clock(self, believed: datetime, jumped_at: datetime | None) -> None:
        self._note(CLOCK, "" if jumped_at is None else jumped_at.isoformat(), believed)

    def _note(self, name: str, value: str, now: datetime) -> None:
        with self._engine.begin() as connection:
            set_flag(connection, name, value, now)
