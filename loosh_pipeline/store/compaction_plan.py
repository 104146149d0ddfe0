"""What is to be done with a day of tables: which files go into parts, which parts into others, what may be removed.

A file of its own counts before parts, a later part before an earlier one. So what is removed is only ever what
something that stays says as well, and a killed compaction leaves tables in two places, never in none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from loosh_pipeline.store.closed import newest
from loosh_pipeline.store.objects import TableFile
from loosh_pipeline.store.parts import Held, Part

KEPT = timedelta(hours=1)
"""How long what a part holds stays in its old place as well: a reader may have listed that, a query or a backup may be
about to read it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a part becomes, by its tables and by its bytes; it is small with less than a quarter of both."""

    tables: int = 2000
    size_bytes: int = 64 * 1024 * 1024
    merge_at: int = 4
    """As many small parts of one schema are made one."""


@dataclass(frozen=True, slots=True)
class Day:
    """An asset's day as it was listed."""

    originals: Mapping[str, TableFile]
    parts: Sequence[Part]

    @property
    def next_number(self) -> int:
        return self.parts[-1].number + 1 if self.parts else 1

    def to_pack(self) -> list[str]:
        """Files that no part holds, as far as listings tell, in order of their names."""
        counting = newest(self.parts)
        return sorted(name for name, each in self.originals.items() if not _same(each, counting.get(name)))

    def ripe(self, now: datetime) -> bool:
        """Whether anything may be removed: nothing before the newest part has been there for long enough. Parts that
        say they were made in the future tell nothing.

        So what it was made of goes in one pass.
        """
        made_at = [part.made_at for part in self.parts if part.made_at <= now]
        return bool(self.parts) and (not made_at or now - max(made_at) >= KEPT)

    def to_remove(self) -> dict[str, tuple[Part, Held]]:
        """Files of whose names a part holds rows, in order of their names, with where; to be removed if it is them."""
        counting = newest(self.parts)
        return {name: counting[name] for name in sorted(self.originals.keys() & counting.keys())}

    def superseded(self) -> list[Part]:
        """Parts of which later ones say all that they say."""
        found = []
        masked = set[str]()
        for at in reversed(range(len(self.parts))):
            part = self.parts[at]
            removed_before = (part.removed & each.tables.keys() for each in self.parts[:at])
            if at + 1 < len(self.parts) and part.tables.keys() <= masked and not any(removed_before):
                found.append(part)
            masked |= part.tables.keys() | part.removed
        return found[::-1]

    def to_merge(self, limits: Limits) -> list[Part]:
        """Small parts that become one, as there are too many of them of one schema."""
        counting = newest(self.parts)
        small: dict[str, list[Part]] = {}
        for part in self.parts:
            live = [held for name, held in part.tables.items() if name in counting and counting[name][0] is part]
            size_bytes = sum(held.size_bytes for held in live)
            if live and 4 * len(live) < limits.tables and 4 * size_bytes < limits.size_bytes:
                small.setdefault(part.schema, []).append(part)
        return [part for parts in small.values() if len(parts) >= limits.merge_at for part in parts]


def _same(original: TableFile, place: tuple[Part, Held] | None) -> bool:
    return place is not None and bool(original.stamp) and original.stamp == place[1].stamp


def last_closed(now: datetime, after_days: float) -> date:
    """The last day that ended at least so long ago."""
    return (now.astimezone(UTC) - timedelta(days=after_days + 1)).date()


def unused(settled: Collection[str], proposed: Collection[str], submitted: Iterable[str]) -> set[str]:
    """Of names that sort by time: settled windows by which no weights were submitted.

    Weights were made by the newest proposal that was there, and that by the newest window. The last of either may yet
    be used.
    """
    windows, proposals = sorted(settled), sorted(proposed)
    used = {_newest_at(proposals, name) for name in submitted} | set(proposals[-1:])
    return set(windows[:-1]) - {_newest_at(windows, name) for name in used if name is not None}


def _newest_at(names: Sequence[str], moment: str) -> str | None:
    before = bisect_right(names, moment)
    return names[before - 1] if before else None
