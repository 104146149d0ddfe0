"""Taking a backup: what is in it, what is not, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from loosh_pipeline.backup import salvaging, swapping, taking
from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.taking import NothingYet, file_named, keep_newest, short_id, take_backup
from loosh_pipeline.errors import ConfigError, StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.compaction import whole, write_part
from loosh_pipeline.store.compaction_plan import Limits
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import TableKey, Tables
from tests.backup.conftest import KEY, NOW, accept, texts_in
from tests.store.compacted import DAY, LATER, SCORES, compact, compact_wholly, put_scores, scores


def names(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
def test_it_holds_the_data_and_can_be_checked_without_us(places: Places, tmp_path: Path, name: str) -> None:
    taken = take_backup(places, tmp_path / name, NOW)
    unpacked = tmp_path / "unpacked"
    with tarfile.open(taken.path) as tar:
        tar.extractall(unpacked, filter="data")
    assert names(taken.path) == [
        "validator.db",
        "users.db",
        "tables/miner_responses/day=2026-03-04/c-1.parquet",
        "tables/miner_responses/day=2026-03-04/c-2.parquet",
        "SHA256SUMS",
        "manifest.json",
    ]
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=unpacked, check=True)
    manifest = json.loads((unpacked / "manifest.json").read_text())
    assert manifest["revisions"] == {"validator.db": "0007", "users.db": "0001"}
    assert manifest["rows"] | {"challenges": 2, "sessions": 0, "users": 1} == manifest["rows"]
    assert manifest["tables"] == {"miner_responses": 2}
    assert (manifest["files"], manifest["elsewhere"], manifest["history"]) == (4, [], False)
    assert stat.S_IMODE(taken.path.stat().st_mode) == 0o600
    assert taken.size_bytes == taken.path.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "loosh", "unpacked"], "nothing is left beside it"


def test_keys_of_sessions_are_nowhere_in_it(places: Places, tmp_path: Path) -> None:
    assert any(KEY in path.read_bytes() for path in places.home.glob("validator.db*"))
    assert KEY not in take_backup(places, tmp_path / "b.tar", NOW).path.read_bytes()


def test_whoever_writes_meanwhile_is_not_held_up_and_not_half_in_it(places: Places, settings: Settings) -> None:
    inbox = Inbox.open(settings.inbox_url)
    with inbox.engine.begin() as writer:
        writer.exec_driver_sql("DELETE FROM challenges")
        taken = take_backup(places, settings.home / "b.tar", NOW)
    inbox.engine.dispose()
    assert taken.manifest.rows["challenges"] == 2


def test_a_challenge_that_comes_between_database_and_tables_loses_nothing(
    places: Places, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its table is in the backup before its row is: it is accepted again, and keeps the answers it got."""
    files = taking._apart

    def later(asset: Path) -> object:
        accept(settings, "c-3")
        return files(asset)

    monkeypatch.setattr(taking, "_require_room", lambda *_: None)
    monkeypatch.setattr(taking, "_apart", later)
    manifest = take_backup(places, settings.home / "b.tar", NOW).manifest
    assert (manifest.rows["challenges"], manifest.tables["miner_responses"]) == (2, 3)


def test_a_table_that_is_removed_meanwhile_and_names_that_are_not_ours_stop_nothing(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places.tables is not None
    day = places.tables / "miner_responses" / "day=2026-03-04"
    for name in (".half.parquet", "mine .parquet", "notes.txt"):
        shutil.copy(day / "c-1.parquet", day / name)
    shutil.copytree(places.tables / "miner_responses", places.tables / "window_cache")
    files = taking._apart
    monkeypatch.setattr(taking, "_apart", lambda asset: [*files(asset), day / "gone.parquet"])
    monkeypatch.setattr(taking, "_require_room", lambda *_: None)
    taken = take_backup(places, tmp_path / "b.tar", NOW)
    assert [name for name in names(taken.path) if name.startswith("tables")] == [
        "tables/miner_responses/day=2026-03-04/c-1.parquet",
        "tables/miner_responses/day=2026-03-04/c-2.parquet",
    ]
    assert taken.skipped == (f"{day / 'mine .parquet'}: no table has such a name",)
    assert taken.missing == (f"{day / 'gone.parquet'}: it was removed meanwhile",)


@pytest.mark.parametrize("merged", [False, True], ids=["packed", "packed and merged"])
def test_days_that_are_compacted_meanwhile_are_all_in_it(
    places: Places, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merged: bool
) -> None:
    tables, files, listed = Tables(settings.tables_root), taking._apart, taking._tables_in

    def moving(asset: Path) -> Iterator[Path]:
        for path in files(asset):
            if tables.open_days(asset.name):
                compact_wholly(tables, day=NOW.date(), asset=asset.name)
            yield path

    def replaced(folder: Path) -> list[Path]:
        found = listed(folder)
        if not any(part.number > 1 for part in tables.closed.parts("miner_responses", NOW.date())):
            for number in range(3):
                table = whole(TableKey(NOW.date(), f"d-{number}"), pl.DataFrame({"text": ["d"]}))
                write_part(tables, "miner_responses", NOW.date(), [table], NOW)
            for turn in range(2):
                at = LATER + timedelta(days=90, hours=turn)
                compact(tables, at, NOW.date(), Limits(100, 1 << 20, 3), "miner_responses")
        return found

    monkeypatch.setattr(taking, "_require_room", lambda *_: None)
    monkeypatch.setattr(taking, "_apart", moving)
    if merged:
        monkeypatch.setattr(taking, "_tables_in", replaced)
    taken = take_backup(places, tmp_path / "b.tar", NOW)
    assert (taken.skipped, taken.missing) == ((), ())
    with tarfile.open(taken.path) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert texts_in(tmp_path / "unpacked") == {"c-1", "c-2", *(["d"] if merged else [])}


def test_tables_of_a_directory_that_was_moved_aside_are_had_back_though_parts_have_the_same_names(
    tmp_path: Path,
) -> None:
    old, new = Tables(str(tmp_path / "old")), Tables(str(tmp_path / "new"))
    put_scores(old, 9)
    put_scores(new, 4)
    for each in (old, new):
        compact_wholly(each)
    expected = {key: str(frame.rows()) for key, frame in old.each(SCORES, DAY)}
    changed = TableKey(DAY, "c-000", "v1")
    new.write(SCORES, changed, scores("c-000", 9.0))
    salvaging.main([old.objects.root, new.objects.root])
    found = {key: str(frame.rows()) for key, frame in new.each(SCORES, DAY)}
    assert found == expected | {changed: str(scores("c-000", 9.0).rows())}
    assert salvaging.copy_missing(old, new) == 0


def test_run_history_goes_along_when_it_is_asked_for_but_for_files_that_are_none(
    places: Places, tmp_path: Path
) -> None:
    runs = places.history / "history" / "runs"
    runs.mkdir(parents=True)
    for path in (places.history / "history" / "runs.db", runs / "r-1.db", runs / ".broken-r-2.db"):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE t (x)")
        connection.close()
    (runs / "r-3.db").write_bytes(b"no database at all" * 100)
    taken = take_backup(places, tmp_path / "b.tar", NOW, with_history=True)
    assert [name for name in names(taken.path) if name.startswith("dagster_home")] == [
        "dagster_home/history/runs/r-1.db",
        "dagster_home/history/runs.db",
    ]
    assert taken.skipped == ("history/runs/r-3.db: file is not a database",)
    assert taken.manifest.history


def test_what_servers_keep_is_named(places: Places, tmp_path: Path) -> None:
    taken = take_backup(replace(places, inbox=None, tables=None), tmp_path / "b.tar", NOW)
    assert names(taken.path) == ["users.db", "SHA256SUMS", "manifest.json"]
    assert [each.partition(":")[0] for each in taken.manifest.elsewhere] == ["validator.db", "tables"]


def test_settings_say_where_the_parts_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = Settings(
        loosh_home=tmp_path, database_url="postgresql://u:p@h/x", tables_dir="s3://b", users_db_path=Path("/u.db")
    )
    assert Places.of(elsewhere) == Places(tmp_path, None, None, None)
    monkeypatch.chdir(tmp_path)
    assert Places.of(Settings(loosh_home=Path("h"), db_path=Path("d.db"))) == Places(
        tmp_path / "h", tmp_path / "d.db", tmp_path / "h/users.db", tmp_path / "h/tables"
    )


def damage(places: Places) -> None:
    assert places.inbox is not None
    with sqlite3.connect(places.inbox) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET rootpage = 3 WHERE name = 'flags'")
    connection.close()


def fill_disk(_places: Places) -> None:
    taking.shutil.disk_usage = lambda _: SimpleNamespace(free=1000)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(damage, "is damaged: .*; restore an earlier backup"), (fill_disk, r"needs .* MB in .*, where 0\.0 MB are free")],
)
def test_what_cannot_be_whole_is_not_taken(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Places], None], said: str
) -> None:
    monkeypatch.setattr(taking.shutil, "disk_usage", shutil.disk_usage)
    spoil(places)
    with pytest.raises(StoreError, match=said):
        take_backup(places, tmp_path / "b.tar", NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["loosh"]


def test_nothing_is_replaced_and_a_missing_folder_is_named(places: Places, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(StoreError, match="exists, and a backup replaces nothing"):
        take_backup(places, tmp_path / "b.tar", NOW)
    assert (tmp_path / "b.tar").read_text() == "mine"
    with pytest.raises(StoreError, match=r"c\.tar could not be written: No such file or directory"):
        take_backup(places, tmp_path / "none" / "c.tar", NOW)


def test_an_empty_home_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(NothingYet, match="nothing to back up"):
        take_backup(Places.usual(tmp_path), tmp_path / "b.tar", NOW)


def test_what_killed_backups_left_is_removed_and_what_one_writes_is_not(places: Places, tmp_path: Path) -> None:
    left, alive = tmp_path / ".loosh-backup-left", tmp_path / ".loosh-backup-alive"
    for folder in (left, alive):
        folder.mkdir()
        (folder / "archive").touch()
    long_ago = time.time() - 2 * taking.LEFT_AFTER_S
    for path in (left / "archive", left):
        os.utime(path, (long_ago, long_ago))
    take_backup(places, tmp_path / "b.tar", NOW)
    assert (left.exists(), alive.exists()) == (False, True)


def test_a_folder_gets_a_name_with_validator_and_time(tmp_path: Path) -> None:
    path = file_named(tmp_path, NOW, "5Hotkey1")
    assert path.parent == tmp_path
    assert (found := taking.OURS.fullmatch(path.name)) is not None
    assert (found["whose"], found["at"]) == ("5Hotkey1", "20260304T050607Z")


@pytest.mark.parametrize("name", ["elsewhere", "b.zip", "tar"])
def test_a_folder_that_is_not_there_does_not_become_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"there is no directory .*/{name}; make it, mount it, or name a file"):
        file_named(tmp_path / name, NOW, "5Hotkey1")
    for ending in taking.ENDINGS:
        assert file_named(tmp_path / f"b{ending}", NOW, "5Hotkey1") == tmp_path / f"b{ending}"


OURS = [f"loosh-1.4.0-5Hotkey1-2026030{day}T050607Z.tar{gz}" for day, gz in ((1, ""), (2, ".gz"), (3, ""))]
OTHERS = [
    "loosh-1.4.0-5Hotkey1-20260301T050607Z.tar.sha256",
    "loosh-1.4.0-5Hotkey1-20260301T050607Z.tar.gz.asc",
    "loosh-1.4.0-5Hotkey2-20260301T050607Z.tar",
    "loosh-test-of-mine-T-Z.tar",
    "my-loosh-1.4.0-5Hotkey1-20260301T050607Z.tar",
    "others.tar",
]


def test_old_ones_of_this_validator_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    for name in (*OURS, *OTHERS):
        (tmp_path / name).touch()
    (tmp_path / "loosh-1.4.0-5Hotkey1-20200101T000000Z.tar").mkdir()
    (tmp_path / "loosh-1.4.0-5Hotkey1-20200102T000000Z.tar").symlink_to(tmp_path / "others.tar")
    before = {path.name for path in tmp_path.iterdir()}
    os.utime(tmp_path / OURS[0], (NOW.timestamp() * 2, NOW.timestamp() * 2))  # copied here later; its name counts
    assert keep_newest(tmp_path / OURS[2], 2, "5Hotkey1") == [tmp_path / OURS[0]]
    assert before - {path.name for path in tmp_path.iterdir()} == {OURS[0]}


def test_the_one_just_taken_stays_whatever_the_clock_said_before(tmp_path: Path) -> None:
    for name in OURS:
        (tmp_path / name).touch()
    assert keep_newest(tmp_path / OURS[0], 1, "5Hotkey1") == [tmp_path / OURS[2], tmp_path / OURS[1]]
    assert [path.name for path in tmp_path.iterdir()] == OURS[:1]


def test_backups_of_a_validator_bear_its_hotkey_where_that_can_be_read(settings: Settings, tmp_path: Path) -> None:
    unknown = short_id(settings)
    assert (len(unknown), unknown) == (8, short_id(settings))
    other = settings.model_copy(update={"loosh_home": tmp_path / "other"})
    assert short_id(other) != unknown
    file = tmp_path / "w" / "v" / "hotkeys" / "h"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"ss58Address": "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"}))
    mine = {"wallet_path": tmp_path / "w", "wallet_name": "v", "hotkey_name": "h"}
    assert short_id(settings.model_copy(update=mine)) == "5GrwvaEF"


@pytest.mark.parametrize("links", [True, False])
def test_what_appeared_meanwhile_is_not_replaced(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def none(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    target, written = tmp_path / "b.tar", taking._written
    if not links:
        monkeypatch.setattr(swapping.os, "link", none)
    assert take_backup(places, tmp_path / "a.tar", NOW).path.stat().st_nlink == 1

    def slow(*arguments: Any) -> object:
        target.write_text("mine")
        return written(*arguments)

    monkeypatch.setattr(taking, "_written", slow)
    with pytest.raises(StoreError, match="exists, and a backup replaces nothing"):
        take_backup(places, target, NOW)
    assert target.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar", "loosh"]
