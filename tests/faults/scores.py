"""Whether anything was scored in two ways: a second scoring writes the files of the first again."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from dagster import EventLogEntry
from dagster._serdes import deserialize_value

from loosh_pipeline.store.score_tables import PAIRS, SCORES
from loosh_pipeline.store.tables import TableKey, Tables

MATERIALIZED_SQL = """
SELECT partition, event FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key = ?
"""


@dataclass
class SeenScores:
    """What the files of scores and pairs were seen to hold, by digest: `look` often enough to see each."""

    tables: Tables
    _stamps: dict[tuple[str, str], str] = field(default_factory=dict)
    _contents: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def look(self) -> None:
        for asset in (SCORES, PAIRS):
            for day in self.tables.days(asset):
                for file in self.tables.files(asset, day):
                    place = asset, file.name
                    if self._stamps.get(place) != file.stamp:
                        self._stamps[place] = file.stamp
                        self._contents[place].add(self.tables.describe(asset, TableKey.named(day, file.name)).sha256)

    def changed(self) -> int:
        """Files whose content was replaced by another."""
        return sum(len(contents) > 1 for contents in self._contents.values())


def scored_differently(dagster_home: Path) -> int:
    """Challenges whose scores Dagster's event log has with two contents under one scorer version."""
    contents: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    log = dagster_home / "history" / "runs" / "index.db"
    with closing(sqlite3.connect(f"{log.as_uri()}?mode=ro", uri=True)) as connection:
        for partition, event in connection.execute(MATERIALIZED_SQL, [f'["{SCORES}"]']):
            told = deserialize_value(event, EventLogEntry).asset_materialization
            assert told is not None
            version, digest = (str(told.metadata[name].value) for name in ("scorer_version", "sha256"))
            contents[partition, version].add(digest)
    assert contents, f"{log} has no scores"
    return sum(len(each) > 1 for each in contents.values())
