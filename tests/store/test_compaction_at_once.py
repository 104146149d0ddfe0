"""Who writes, removes, reads and compacts the same day at the same time; and clocks that are not alike."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from loosh_pipeline.errors import PartTaken
from loosh_pipeline.store import day_locks
from loosh_pipeline.store import parts as parts_module
from loosh_pipeline.store.compaction import DayCompaction, whole, write_part
from loosh_pipeline.store.compaction_plan import KEPT, Limits
from loosh_pipeline.store.objects import Objects
from loosh_pipeline.store.parts import PartWriter
from loosh_pipeline.store.tables import TableKey, Tables
from tests.builders import NOON
from tests.store.compacted import (
    DAY,
    FEW,
    LATER,
    SCORES,
    compact,
    compact_wholly,
    everything,
    in_sql,
    parts,
    put_scores,
    scores,
)

KEY = TableKey(DAY, "c-000", "v1")


def test_on_an_object_store_nothing_is_lost_that_is_written_while_its_file_is_removed(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tables.objects.local:
        pytest.skip("a disk has locks")
    put_scores(tables, 3)
    compact(tables)
    again, remove = scores("c-000", 9.0), Objects.remove

    def late(self: Objects, path: str) -> None:
        monkeypatch.setattr(Objects, "remove", remove)
        tables.write(SCORES, KEY, again)
        remove(self, path)

    monkeypatch.setattr(Objects, "remove", late)
    assert compact(tables, LATER + KEPT).removed == 3
    assert tables.read(SCORES, KEY).equals(again)


def test_of_two_that_put_the_same_object_at_once_one_is_told(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a store that cannot be asked to put only what is new."""
    if tables.objects.local:
        pytest.skip("a disk links names")
    fs, put = tables.objects.fs, tables.objects.fs.pipe_file

    def both(path: str, content: bytes, mode: str) -> None:
        put(path, content, mode="overwrite")
        if len(tables.closed.parts(SCORES, DAY)) == 1 and path.endswith("000002.parquet"):
            put(path, parts_module.removal(["c-009.v1.parquet"], NOON), mode="overwrite")

    put_scores(tables, 3)
    compact(tables)
    monkeypatch.setattr(fs, "pipe_file", both)
    tables.write(SCORES, KEY, scores("c-000", 9.0))
    monkeypatch.undo()
    assert tables.read(SCORES, KEY).equals(scores("c-000", 9.0))


def test_a_file_that_is_written_meanwhile_is_not_removed(local: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    put_scores(local, 3)
    compact(local)
    with day_locks.writing(local.closed.directory(SCORES, DAY)):
        assert compact(local, LATER + KEPT).removed == 0
    again, removing = scores("c-000", 9.0), day_locks.removing

    def late(directory: str) -> Any:
        monkeypatch.setattr(day_locks, "removing", removing)
        local.write(SCORES, KEY, again)
        return removing(directory)

    monkeypatch.setattr(day_locks, "removing", late)
    assert compact(local, LATER + KEPT).removed == 2
    assert local.read(SCORES, KEY).equals(again)


def test_a_table_that_is_removed_while_it_is_packed_stays_away(local: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    put_scores(local, 3)
    finish = PartWriter.finish

    def late(self: PartWriter, made_at: datetime) -> bytes:
        local.remove(SCORES, KEY)
        return finish(self, made_at)

    monkeypatch.setattr(PartWriter, "finish", late)
    with pytest.raises(PartTaken, match=r"c-000.* was removed meanwhile; this day is begun anew"):
        compact(local)
    monkeypatch.undo()
    compact_wholly(local)
    assert not local.exists(SCORES, KEY)


def test_what_was_made_when_the_clock_was_ahead_is_removed_an_hour_after_it_is_seen(local: Tables) -> None:
    put_scores(local, 3)
    compact(local, LATER + timedelta(days=365))
    path = local.closed.path(SCORES, DAY, 1)
    ahead = (LATER + timedelta(days=365)).timestamp()
    os.utime(path, (ahead, ahead))
    assert compact(local, LATER).removed == 0
    assert os.stat(path).st_mtime == LATER.timestamp()
    assert compact(local, LATER + KEPT / 2).removed == 0
    assert compact(local, LATER + 2 * KEPT).removed == 3


def test_another_number_is_taken_when_the_part_there_is_of_other_tables(tables: Tables) -> None:
    put_scores(tables, 2)
    compaction = DayCompaction(tables, SCORES, DAY, lambda: LATER, limits=FEW)
    look = compaction._look

    def late() -> Any:
        day = look()
        if not day.parts:
            write_part(tables, SCORES, DAY, [whole(TableKey(DAY, "d-1"), scores("d-1", 1.0))], NOON)
        return day

    compaction._look = late  # type: ignore[method-assign]
    assert compaction.run().packed == 2
    assert parts(tables) == [1, 2]


def test_reading_goes_on_when_parts_are_replaced_meanwhile(tables: Tables) -> None:
    put_scores(tables, 23)
    at, before = compact_wholly(tables), everything(tables)
    files = sorted(each.name for each in tables.files(SCORES, DAY))
    reading = tables.each(SCORES, DAY)
    found = [next(reading) for _ in range(3)]
    larger = Limits(tables=200, size_bytes=1 << 20, merge_at=2)
    tables.write(SCORES, TableKey(DAY, "d-1"), scores("d-1", 1.0))
    for turn in range(2):
        compact(tables, at + turn * KEPT, limits=larger)
    assert len(parts(tables)) == 2, "one of each schema"
    found += reading
    assert [key.file for key, _ in found] == files
    assert all(str(frame.rows()) == before[f"{DAY} {key.file}"][1] for key, frame in found)


def test_two_compactions_at_once_take_no_number_twice(tables: Tables) -> None:
    put_scores(tables, 12)
    before = everything(tables)
    first = DayCompaction(tables, SCORES, DAY, lambda: LATER, limits=FEW)
    put = Objects.put

    def other_first(self: Objects, path: str, content: bytes, *, replace: bool) -> bool:
        if path.endswith("000001.parquet") and not parts(tables):
            Objects.put = put  # type: ignore[method-assign]
            compact(tables)
        return put(self, path, content, replace=replace)

    Objects.put = other_first  # type: ignore[method-assign]
    try:
        with pytest.raises(PartTaken, match="of the same tables; this day is begun anew"):
            first.run()
    finally:
        Objects.put = put  # type: ignore[method-assign]
    assert everything(tables) == before


class Readers:
    """Threads that read all there is, again and again, at one pace; an hour is over with every second time."""

    def __init__(self, tables: Tables, count: int) -> None:
        self._tables, self._expected = tables, (everything(tables), in_sql(tables))
        self._begun = threading.Barrier(count, action=self._begin)
        self._threads = [threading.Thread(target=self._read) for _ in range(count)]
        self._times, self._last = 0, False
        self.stop = False
        self.wrong: list[object] = []

    def _begin(self) -> None:
        self._times, self._last = self._times + 1, self.stop

    def clock(self) -> datetime:
        return LATER + self._times * KEPT / 2

    def _read(self) -> None:
        with suppress(threading.BrokenBarrierError):
            while not self._last:
                self._begun.wait()
                try:
                    if (found := (everything(self._tables), in_sql(self._tables))) != self._expected:
                        self.wrong.append(found)
                except Exception as error:
                    self.wrong.append(error)
                if self.wrong:
                    self._begun.abort()

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop = True
        for thread in self._threads:
            thread.join()


def test_compactions_and_readers_at_once(local: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the other compaction is just writing seems hours old by the clock of this test, and would be tidied up.
    monkeypatch.setattr("loosh_pipeline.store.compaction.UNFINISHED", ".none")
    put_scores(local, 30)
    with Readers(local, 2) as readers:

        def compacts() -> None:
            while local.originals(SCORES, DAY) and not readers.wrong:
                with suppress(PartTaken):
                    DayCompaction(local, SCORES, DAY, readers.clock, limits=FEW).run()

        compacting = [threading.Thread(target=compacts) for _ in range(2)]
        for thread in compacting:
            thread.start()
        for thread in compacting:
            thread.join()
    assert readers.wrong == []
    assert local.originals(SCORES, DAY) == []
