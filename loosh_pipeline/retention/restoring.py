"""Showing challenges again that were pruned, from what inbox and tables keep of them.

Dagster is given their partitions, and told of each table that is there as of a materialization without a run: with
that its pages show them, and a backfill works on them as on any other. Nothing is computed, and nobody is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache, cached_property
from typing import Any

from dagster import AssetKey, AssetMaterialization, DagsterInstance, MetadataValue

from loosh_pipeline import page_links
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.orchestrator import RESCORED
from loosh_pipeline.retention.ages import FINISHED
from loosh_pipeline.retention.history import History
from loosh_pipeline.retention.overdue import TOO_MANY
from loosh_pipeline.retention.rows import chunks
from loosh_pipeline.scorers import paying_profile
from loosh_pipeline.scoring.profiles import PROFILES, ScoringProfile, profile_of
from loosh_pipeline.services import environment
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox, InboxRow
from loosh_pipeline.store.score_tables import CANARIES, CANARY_SCORES, IN_USE, SCORES, TRIED_SCORES, ScoreTables
from loosh_pipeline.store.tables import TableKey, Tables, file_stem
from loosh_pipeline.table_metadata import written_of_one

PLAIN = ("miner_responses", "embeddings", "narratives")
"""Assets with one table a challenge, of the asset's name."""
SUBMISSIONS, HEATMAPS = "submissions", "heatmaps"
SHADOW = "shadow_scores"
OTHERS = (SHADOW, RESCORED)
"""Assets that score under other profiles or parameters than those that pay."""
ASKED, PROMPT_CHARS = "challenges", 500
ASSETS = (ASKED, *PLAIN, SCORES, *OTHERS, SUBMISSIONS, HEATMAPS)
AT_ONCE = 100


@dataclass(slots=True)
class Restored:
    """What was done. `not_over`: challenges that are still evaluated, and are shown anyhow; `without_tables`: of which
    nothing is kept that could be shown.
    """

    challenges: int = 0
    materializations: int = 0
    not_over: list[str] = field(default_factory=list)
    without_tables: list[str] = field(default_factory=list)


@contextmanager
def validators_instance(settings: Settings) -> Iterator[DagsterInstance]:
    """The Dagster instance of this validator, whether it runs or not. Raises StoreError where there is none."""
    home = settings.home / "dagster_home"
    if not (home / "dagster.yaml").exists():
        raise StoreError(f"there is no history of runs in {home} yet; start `loosh up` first, or set LOOSH_HOME right")
    with _told(environment(settings, home)):  # addresses with passwords stand in the environment alone
        instance = DagsterInstance.from_config(str(home))
    with instance:
        yield instance


@contextmanager
def _told(names: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class Restorer:
    """What challenges are restored from, and where to."""

    instance: DagsterInstance
    inbox: Inbox
    settings: Settings

    def restore(self, ids: Sequence[str], progress: Callable[[int], object] = lambda _: None) -> Restored:
        """Show challenges again; what is shown already gets a new age. Raises ConfigError for so many that others would
        have to go for them.

        Killed on the way, some are shown, whole or in part; doing it again completes them.
        """
        done, history = Restored(), History(self.instance)
        self._see_that_there_is_room(history, ids)
        for part in chunks(ids, AT_ONCE):
            rows = self.inbox.get_many(part)
            done.not_over += [row.id for row in rows if row.state not in FINISHED]
            self._restore_some(history, [row for row in rows if row.state in FINISHED], done)
            progress(len(part))
        return done

    def _see_that_there_is_room(self, history: History, ids: Sequence[str]) -> None:
        shown, most = {each.key for each in history.partitions()}, self.settings.retain_challenges
        new, room = len(set(ids) - shown), max(int(TOO_MANY * most) - len(shown), AT_ONCE)
        if new > room:
            raise ConfigError(
                f"Dagster shows {len(shown):,} challenges, and {new:,} more would push younger ones out, as "
                f"RETAIN_CHALLENGES={most}; restore {room:,} at most, or set RETAIN_CHALLENGES={len(shown) + new} and "
                "start `loosh up` again. For scoring again, none need be shown: `loosh rescore --since … --until …`"
            )

    def _restore_some(self, history: History, rows: Sequence[InboxRow], done: Restored) -> None:
        found = {row.id: self._with_question(row, list(self._materializations(row))) for row in rows}
        done.without_tables += [key for key, events in found.items() if not events]
        going = [key for key, events in found.items() if events]
        history.show(going, datetime.now(UTC))
        there = history.materialized(ASSETS, going)
        for key in going:
            for event in found[key]:
                if (event.asset_key.to_user_string(), key) not in there:
                    self.instance.report_runless_asset_event(event)
                    done.materializations += 1
        done.challenges += len(going)

    def _with_question(self, row: InboxRow, events: list[AssetMaterialization]) -> list[AssetMaterialization]:
        """Of a challenge of which anything is there, what was asked too."""
        asked = row.challenge()
        about: dict[str, MetadataValue[Any]] = {
            "prompt": MetadataValue.text(asked.prompt[:PROMPT_CHARS]),
            "received_at": MetadataValue.timestamp(row.received_at),
        }
        return events and [self._restored(row.id, ASKED, about), *events]

    def _materializations(self, row: InboxRow) -> Iterator[AssetMaterialization]:
        """What there is of a challenge, an asset each, in the order in which it was made."""
        key = TableKey.of(row.id, row.received_at)
        for asset in PLAIN[:2]:
            yield from self._of_table(row.id, asset, key)
        if (version := self._scores.version_of(key)) is not None:
            more = {"scorer_version": MetadataValue.text(version)}
            table = self._scores.table_of(key)
            yield from self._of_table(row.id, SCORES, TableKey(key.day, key.name, version), more, table)
        yield from self._of_others(row.id, key)
        if row.state is ChallengeState.SUBMITTED:
            yield self._restored(row.id, SUBMISSIONS, {"state": MetadataValue.text(row.state.value)})
        picture = self.settings.heatmaps_root / f"{file_stem(row.id)}.png"
        if picture.exists():
            yield self._restored(row.id, HEATMAPS, {"path": MetadataValue.path(picture)})
        yield from self._of_table(row.id, PLAIN[2], key)

    def _of_others(self, challenge_id: ChallengeId, key: TableKey) -> Iterator[AssetMaterialization]:
        """Scores beside those that count; a page names all their versions, and speaks of the table of one."""
        for (asset, table), versions in self._scores.others_of(key).items():
            names = {"versions": MetadataValue.text(", ".join(versions))}
            yield from self._of_table(challenge_id, asset, TableKey(key.day, key.name, versions[-1]), names, table)

    def _of_table(
        self,
        challenge_id: ChallengeId,
        asset: str,
        key: TableKey,
        more: Mapping[str, MetadataValue] | None = None,
        stored_as: str | None = None,
    ) -> Iterator[AssetMaterialization]:
        if not self._tables.exists(stored_as or asset, key):
            return
        about = written_of_one(self._tables.describe(stored_as or asset, key))
        yield self._restored(challenge_id, asset, {**about, **(more or {})})

    def _restored(
        self, challenge_id: ChallengeId, asset: str, about: Mapping[str, MetadataValue]
    ) -> AssetMaterialization:
        more = {
            "page": MetadataValue.url(page_links.of_challenge(self.settings.ingress_url, challenge_id)),
            "restored": MetadataValue.bool(True),
        }
        return AssetMaterialization(AssetKey(asset), partition=challenge_id, metadata={**about, **more})

    @cached_property
    def _tables(self) -> Tables:
        return Tables(self.settings.tables_root)

    @cached_property
    def _scores(self) -> ScoresOfDays:
        return ScoresOfDays(self._tables, paying_profile(self.settings))


class ScoresOfDays:
    """Which scores of a round count, among many rounds: one look at a day, and one at each scorer."""

    def __init__(self, tables: Tables, paying: ScoringProfile) -> None:
        self._tables, self._paying = tables, paying
        self._scores = {shelf.scores: ScoreTables(tables, shelf) for shelf in (IN_USE, CANARIES)}
        self._versions = cache(self._of_day)
        self._chosen = cache(self._choose)

    def version_of(self, key: TableKey) -> str | None:
        """The version that counts of the profile that pays, or else of one that may have paid; None without scores.

        Rows of 1.3.0 are of versions that were described nowhere.
        """
        table = self.table_of(key)
        return self._chosen(frozenset(self._versions_of(table, key)), table)

    def table_of(self, key: TableKey) -> str:
        """The table in which its scores lie: those of a canary lie apart."""
        return CANARY_SCORES if self._versions_of(CANARY_SCORES, key) else SCORES

    def others_of(self, key: TableKey) -> Mapping[tuple[str, str], Sequence[str]]:
        """The other versions, by the asset that makes such and the table they lie in.

        Those of profiles that do not pay, and what was scored again: by what paid otherwise once, or for a trial. A
        page speaks of one of them: of what counts before what was tried.
        """
        counts, table, found = self.version_of(key), self.table_of(key), dict[tuple[str, str], list[str]]()
        for version in self._versions_of(table, key):
            if version != counts:
                found.setdefault((self._asset_of(version, table), table), []).append(version)
        if (RESCORED, table) not in found and (tried := self._versions_of(TRIED_SCORES, key)):
            found[RESCORED, TRIED_SCORES] = list(tried)
        return found

    def _asset_of(self, version: str, table: str) -> str:
        return RESCORED if self._scores[table].counting([version], self._paying) else SHADOW

    def _versions_of(self, table: str, key: TableKey) -> Sequence[str]:
        return sorted(self._versions(table, key.day).get(key.name, ()))

    def _choose(self, versions: frozenset[str], table: str) -> str | None:
        others = (profile_of(name) for name in PROFILES if name != self._paying.name)
        for profile in (self._paying, *others):
            if counting := self._scores[table].counting(versions, profile):
                return counting[0]
        return min(versions, default=None)

    def _of_day(self, table: str, day: date) -> Mapping[str, Collection[str]]:
        found: dict[str, set[str]] = {}
        for file in self._tables.files(table, day):
            key = TableKey.named(day, file.name)
            found.setdefault(key.name, set()).add(key.version)
        return found
