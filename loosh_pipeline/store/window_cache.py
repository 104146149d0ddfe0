"""The rows of many small files in few, so that planning weights does not open every round of a day again.

    ROOT/window_cache/day=…/ASSET.HOUR.parquet   rows of that day's files that were last written in that hour

A copy, and never more: at every read it is compared with the files that are there, by name, size, time and inode (or
what an object store says in their place). What is missing from it is read from the files, what is there no longer, or
was written again, is left out, and only the hours in which something changed are kept anew, each as one file that
appears whole. So deleting it, a crash, a full disk, or two processes at once cost time and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store.tables import TableKey, Tables

CACHE = "window_cache"
FILE: Mapping[str, Any] = {"file": pl.String, "stamp": pl.String, "hour": pl.Int64}
"""Of which file a row is. A file without rows leaves one that says only this."""

log = logging.getLogger(__name__)


def forget_before(tables: Tables, now: datetime, lookback_h: float) -> None:
    """Delete what is kept of days that such a lookback does not reach, nor one that began before midnight.

    That it cannot be deleted is a warning: it takes space and nothing else.
    """
    try:
        since = (now - timedelta(hours=lookback_h, days=1)).date()
        for day in tables.days(CACHE):
            if day < since:
                tables.remove_day(CACHE, day)
    except Exception as error:  # object stores raise their clients' errors, which have no base in common
        log.warning("copies of rows from before the last %g h cannot be deleted: %s", lookback_h, error)


class WindowCache:
    """Reads some columns of an asset's days, whatever number of rows a file holds.

    `keeps`: whether it leaves copies of what it read. Who only looks leaves nothing behind.
    """

    def __init__(self, tables: Tables, asset: str, schema: Mapping[str, Any], *, keeps: bool = True) -> None:
        self._tables, self._asset, self._schema, self._may_keep = tables, asset, schema, keeps

    def rows(self, since: date, until: date = date.max) -> pl.DataFrame:
        """All rows of the days from `since` to `until`, in no particular order.

        A column that a file lacks is null, and a file that is deleted meanwhile has no rows. Raises StoreError that
        names a file which cannot be read. That no copy can be kept is a warning, once.
        """
        self._keeps = self._may_keep
        days = [self._day(day) for day in self._tables.days(self._asset) if since <= day <= until]
        return pl.concat(days or [pl.DataFrame(schema=self._schema)])

    def _day(self, day: date) -> pl.DataFrame:
        listed = self._listed(day)
        kept = pl.concat([pl.DataFrame(schema=self._kept_schema), *self._kept(day)])
        known = kept.select(*FILE).unique()
        gone = known.join(listed, on=list(FILE), how="anti")
        new = listed.join(known, on=list(FILE), how="anti")
        if not gone.is_empty():
            kept = kept.join(gone, on=list(FILE), how="anti")
        if not new.is_empty():
            kept = pl.concat([kept, self._read(day, new)])
        self._keep(day, kept, set(pl.concat([gone, new])["hour"].to_list()))
        return kept.select(*self._schema).drop_nulls(next(iter(self._schema)))

    def _listed(self, day: date) -> pl.DataFrame:
        return pl.DataFrame(self._tables.files(self._asset, day), schema=FILE, orient="row")

    def _read(self, day: date, files: pl.DataFrame) -> pl.DataFrame:
        """The rows of these files, but for those that were deleted since they were listed."""
        try:
            rows = self._tables.read_files(self._asset, day, files["file"].to_list(), self._schema)
        except StoreError:
            there = files.join(self._listed(day), on="file", how="semi")
            if there.height == files.height:
                raise
            return self._read(day, there)
        return files.join(rows, on="file", how="left").select(*self._kept_schema)

    @property
    def _kept_schema(self) -> dict[str, Any]:
        return {**FILE, **self._schema}

    def _kept(self, day: date) -> Iterator[pl.DataFrame]:
        """What earlier reads left, but for what is broken or of another version of this program."""
        try:
            keys = [TableKey.named(day, each.name) for each in self._tables.files(CACHE, day)]
        except Exception as error:  # see `_give_up`
            self._give_up(error)
            return
        for key in keys:
            if key.name != self._asset:
                continue
            try:
                found = self._tables.read(CACHE, key)
            except Exception as error:
                log.warning("read again from the tables, as a copy of them is of no use: %s", error)
                continue
            if found.schema == pl.Schema(self._kept_schema):
                yield found

    def _keep(self, day: date, rows: pl.DataFrame, hours: set[int]) -> None:
        """Write these hours anew. A file whose store tells no versions apart is read anew each time."""
        for hour in hours:
            if not self._keeps:
                return
            part = rows.filter(pl.col("hour") == hour, pl.col("stamp") != "")
            key = TableKey(day, self._asset, str(hour))
            try:
                if part.is_empty():
                    self._tables.remove(CACHE, key)
                else:
                    self._tables.write(CACHE, key, part)
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Keep no more copies in this read. Any error will do: those of object stores' clients share no base."""
        self._keeps = False
        log.warning(
            "no copy of %s can be kept, so it is read anew each time (%s); make TABLES_DIR/%s writable, or delete it",
            self._asset, error, CACHE,
        )  # fmt: skip
