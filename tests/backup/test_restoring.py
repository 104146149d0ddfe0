"""Putting a backup back: whole or not at all, wherever it is interrupted, and nothing that does not belong."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from loosh_pipeline.backup import archive, restoring, swapping, writing
from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.restoring import check_backup, restore_backup
from loosh_pipeline.backup.taking import take_backup
from loosh_pipeline.errors import ConfigError, ServiceError, StoreError
from loosh_pipeline.lock import validator_lock
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.compaction import DayCompaction
from loosh_pipeline.store.tables import TableKey, Tables
from tests.backup.conftest import NOW, accept, challenges_in, texts_in

ASIDE = "loosh.before-restore-20260304T050607Z"


def restore(path: Path, places: Places, *, force: bool = False) -> Path | None:
    return restore_backup(path, places, NOW, force=force, say=lambda _: None).aside


def test_onto_another_home(backup: Path, tmp_path: Path) -> None:
    home = tmp_path / "other" / "home"
    assert restore(backup, Places.usual(home)) is None
    assert (challenges_in(home), texts_in(home)) == ({"c-1", "c-2"}, {"c-1", "c-2"})
    assert sorted(path.name for path in home.iterdir() if "-" not in path.name) == [
        "tables",
        "users.db",
        "validator.db",
    ]
    assert list(home.parent.iterdir()) == [home], "nothing is left beside it"
    assert (home / "validator.db").stat().st_mode & 0o777 == 0o600


def test_data_that_are_there_are_moved_aside_and_what_is_the_machines_stays(
    backup: Path, places: Places, settings: Settings, tmp_path: Path
) -> None:
    accept(settings, "c-3")
    (places.home / "validator.db-wal").touch()
    with pytest.raises(
        ConfigError, match=r"is not empty \(chain, heatmaps, logs, models, tables\); restore with --force"
    ):
        restore(backup, places)
    aside = restore(backup, places, force=True)
    assert aside == tmp_path / ASIDE
    assert challenges_in(places.home) == texts_in(places.home) == {"c-1", "c-2"}
    assert challenges_in(aside) == texts_in(aside) == {"c-1", "c-2", "c-3"}
    kept = {path.name for path in places.home.iterdir() if not path.name.startswith(("validator.db", "users.db"))}
    assert kept == {"models", "wallets", "tables"}
    assert (places.home / "wallets/v/hotkeys/v").read_text() == "wallets/v/hotkeys/v"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "loosh", ASIDE]


def test_where_names_cannot_be_exchanged(
    backup: Path, places: Places, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(settings, "c-3")
    monkeypatch.setattr(swapping, "LIBC", None)
    aside = restore(backup, places, force=True)
    assert aside is not None
    assert challenges_in(aside) == {"c-1", "c-2", "c-3"}
    assert challenges_in(places.home) == {"c-1", "c-2"}


def test_a_running_validator_is_left_alone(backup: Path, places: Places) -> None:
    with validator_lock(places.home), pytest.raises(ServiceError, match=r"a validator \(process \d+\) runs in"):
        restore(backup, places, force=True)


def test_whoever_waited_for_the_lock_gets_that_of_the_new_directory(backup: Path, places: Places) -> None:
    """Its file was opened before the directories changed places."""
    code = (
        "import sys\nfrom pathlib import Path\nimport loosh_pipeline.lock as lock\n"
        "take = lock._take\n"
        "def slow(file, home, say):\n    print('opened', flush=True); sys.stdin.readline(); take(file, home, say)\n"
        "lock._take = slow\n"
        "with lock.validator_lock(Path(sys.argv[1])) as held:\n"
        "    import os; print(os.path.samestat(os.fstat(held), os.stat(sys.argv[1] + '/validator.lock')))\n"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, str(places.home)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "opened\n"
        restore(backup, places, force=True)
        assert other.communicate("go\n" * 5, timeout=20)[0].splitlines() == ["opened", "True"]


def test_settings_of_parts_outside_the_home_are_refused(backup: Path, places: Places, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tables \(.*/elsewhere\) would lie outside LOOSH_HOME .*--into"):
        restore(backup, replace(places, tables=tmp_path / "elsewhere"), force=True)


def test_parts_inside_the_home_go_where_the_settings_want_them(backup: Path, tmp_path: Path) -> None:
    home = tmp_path / "new"
    restore(backup, Places(home, home / "db" / "mine.db", home / "users.db", home / "t"))
    assert (home / "db" / "mine.db").is_file()
    assert len(list((home / "t").rglob("*.parquet"))) == 2


def test_a_mount_point_is_named(backup: Path, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring.os.path, "ismount", lambda path: path == places.home)
    with pytest.raises(ConfigError, match="is a mount point"):
        restore(backup, places, force=True)


def test_history_comes_back(places: Places, tmp_path: Path) -> None:
    path = places.history / "history" / "runs.db"
    path.parent.mkdir(parents=True)
    path.touch()
    taken = take_backup(places, tmp_path / "h.tar.gz", NOW, with_history=True)
    restore(taken.path, Places.usual(tmp_path / "new"))
    assert (tmp_path / "new" / "dagster_home" / "history" / "runs.db").is_file()


def rewrite(path: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes] | None]) -> None:
    """The same archive with other members."""
    changed = []
    with tarfile.open(path) as tar:
        for info in tar.getmembers():
            content = tar.extractfile(info)
            if (member := change(info, b"" if content is None else content.read())) is not None:
                changed.append(member)
    with tarfile.open(path, "w") as tar:
        for info, content in changed:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"what is c-1?")] ^= 1
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def cut_behind_a_file(path: Path) -> None:
    rewrite(path, lambda info, content: None if info.name in ("SHA256SUMS", "manifest.json") else (info, content))


def leave_out(path: Path) -> None:
    rewrite(path, lambda info, content: None if info.name.endswith("c-2.parquet") else (info, content))


def other_sums(path: Path) -> None:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes] | None:
        if info.name.endswith("c-2.parquet"):
            return None
        if info.name == "SHA256SUMS":
            content = b"".join(line for line in content.splitlines(keepends=True) if b"c-2" not in line)
        return info, content

    rewrite(path, change)


def unnamed(path: Path) -> None:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if info.name == "SHA256SUMS":
            content = content[: content.index(b"\n") + 1]
        return info, content

    rewrite(path, change)


def text(path: Path) -> None:
    path.write_text("no archive")


def renamed(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Path], None]:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if info.name.endswith("c-1.parquet"):
            info.name, info.type, info.linkname = name, kind, link
            content = content if kind == tarfile.REGTYPE else b""
        return info, content

    return lambda path: rewrite(path, change)


def later_revision(path: Path) -> None:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return info, content.replace(b'"0007"', b'"0099"') if info.name == "manifest.json" else content

    rewrite(path, change)


def later_format(path: Path) -> None:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return info, content.replace(b'"format": 1', b'"format": 2') if info.name == "manifest.json" else content

    rewrite(path, change)


BAD: list[tuple[Callable[[Path], None], str]] = [
    (flip_a_bit, "validator.db is not what was backed up"),
    (cut_off, "is no whole backup"),
    (cut_behind_a_file, "it has no manifest, so it was cut off"),
    (leave_out, "c-2.parquet is not what was backed up|c-2.parquet is missing"),
    (other_sums, "SHA256SUMS is not what was backed up"),
    (unnamed, "it holds files that its sums do not name"),
    (text, "is no whole backup"),
    (renamed("../evil"), ": ../evil does not belong into one"),
    (renamed("/tmp/evil"), ": /tmp/evil does not belong into one"),
    (renamed("tables/../../evil"), "does not belong into one"),
    (renamed("tables/.hidden"), "does not belong into one"),
    (renamed("wallets/v/hotkeys/v"), "does not belong into one"),
    (renamed("tables/x", tarfile.SYMTYPE, "/etc"), "does not belong into one"),
    (renamed("tables/x", tarfile.LNKTYPE, "validator.db"), "does not belong into one"),
    (renamed("tables/x", tarfile.CHRTYPE), "does not belong into one"),
    (renamed("tables", tarfile.DIRTYPE), "does not belong into one"),
    (
        later_revision,
        "validator.db of the backup, taken by .* has schema revision 0099, and this release .* after 0007",
    ),
    (later_format, "its manifest is of another release: format"),
]


@pytest.mark.parametrize(("spoil", "said"), BAD)
def test_what_is_not_whole_is_refused_and_touches_nothing(
    backup: Path, places: Places, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(backup)
    before = digests(places.home)
    for use in (check_backup, lambda path: restore(path, places, force=True)):
        with pytest.raises(StoreError, match=said):
            use(backup)
    assert digests(places.home) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "loosh"]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "validator.lock"
    }


def test_no_backup_at_all(places: Places, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no backup"):
        check_backup(tmp_path / "none.tar")
    with pytest.raises(StoreError, match="there is no backup"):
        restore(tmp_path / "none.tar", places)


@dataclass
class Given:
    """Whom what was given, in order: the inode, and what it was called then."""

    inodes: list[int] = field(default_factory=list)

    def give(self, descriptor: int, user: int, group: int) -> None:
        assert (user, group) == (4711, 4712)
        self.inodes.append(os.fstat(descriptor).st_ino)


def inodes(*paths: Path) -> set[int]:
    return {path.stat(follow_symlinks=False).st_ino for path in paths}


def test_root_gives_the_owner_what_it_wrote_and_nothing_else(
    backup: Path, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key-of-root"
    key.write_text("secret")
    os.link(key, places.home / "wallets" / "mine")
    (places.home / "wallets" / "link").symlink_to(key)
    given = Given()
    monkeypatch.setattr(writing.Owner, "of", lambda _status: writing.Owner(4711, 4712))
    monkeypatch.setattr(writing.os, "fchown", given.give)
    monkeypatch.setattr(writing.os, "chown", None)
    restore(backup, places, force=True)
    home = places.home
    wrote = [home / "validator.db", home / "users.db", *(home / "tables").rglob("*")]
    folders = [path for name in ("tables", "models", "wallets") for path in (home / name, *(home / name).rglob("*"))]
    assert set(given.inodes) == inodes(home, *wrote, *(path for path in folders if path.is_dir()))
    assert given.inodes[-1] == home.stat().st_ino, "until then only root reaches what is in it"
    assert key.stat().st_ino not in given.inodes
    assert (home / "wallets" / "mine").samefile(key)
    assert (home / "wallets" / "link").is_symlink()


def test_a_new_directory_belongs_to_the_owner_of_the_one_it_is_made_in(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, said = Given(), list[str]()
    monkeypatch.setattr(restoring.os, "geteuid", lambda: 0)
    monkeypatch.setattr(writing.Owner, "of", lambda _status: writing.Owner(4711, 4712))
    monkeypatch.setattr(writing.os, "fchown", given.give)
    home = tmp_path / "a" / "b"
    restore_backup(backup, Places.usual(home), NOW, force=False, say=said.append)
    assert inodes(home.parent, home, home / "validator.db") <= set(given.inodes)
    whose = restoring._name_of(home.stat().st_uid)
    assert said == [f"{home} belongs to {whose}, as {tmp_path} does; `chown -R USER: {home}` gives it to another user"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_as_root_for_another_user(backup: Path, places: Places, tmp_path: Path) -> None:
    key = places.home / "wallets/v/hotkeys/v"
    os.chown(key, 1234, 1234)
    os.chown(places.home, 4711, 4711)
    parent = tmp_path / "of-user"
    parent.mkdir()
    os.chown(parent, 4711, 4711)
    restore(backup, places, force=True)
    restore(backup, Places.usual(parent / "new" / "home"))
    for home in (places.home, parent / "new" / "home"):
        paths = [home.parent] * (home != places.home) + [home, home / "validator.db", *(home / "tables").rglob("*")]
        assert {path.stat().st_uid for path in paths} == {4711}
    assert (key.stat().st_uid, (places.home / "wallets").stat().st_uid) == (1234, 0), "its owner stays"


def test_a_link_in_the_place_of_the_lock_is_not_followed(backup: Path, places: Places, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (places.home / "validator.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ServiceError, match="cannot be written"):
        restore(backup, places, force=True)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_refused_one_leaves_no_directory_and_no_lock_behind(backup: Path, places: Places, tmp_path: Path) -> None:
    flip_a_bit(backup)
    (places.home / "validator.lock").unlink(missing_ok=True)
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for home in (tmp_path / "a" / "b", tmp_path / "empty", places.home):
        with pytest.raises(StoreError, match="no whole backup"):
            restore(backup, Places.usual(home), force=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_only_begins_like_a_database_stays(backup: Path, places: Places) -> None:
    home = places.home
    (home / "dbs-of-mine").mkdir()
    (home / "dbs-of-mine" / "a").write_text("mine")
    for name in ("db/mine.db", "db/mine.db-wal"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).touch()
    inside = Places(home, home / "db" / "mine.db", home / "users.db", home / "tables")
    (home / "validator.db.of-mine").write_text("mine")
    restore(backup, inside, force=True)
    assert (home / "dbs-of-mine" / "a").read_text() == "mine"
    assert (home / "validator.db.of-mine").read_text() == "mine"
    assert [path.name for path in (home / "db").iterdir()] == ["mine.db"]


def test_a_check_reads_all_of_it_and_writes_nothing(backup: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert check_backup(backup).rows["challenges"] == 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_all_as_it_is(backup: Path, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28), "x")

    before = digests(places.home)
    monkeypatch.setattr(writing.Writer, "take", full)
    with pytest.raises(StoreError, match="was left as it is: No space left on device"):
        restore(backup, places, force=True)
    assert digests(places.home) == before
    assert [path.name for path in places.home.parent.iterdir() if "restoring" in path.name] == []


def test_names_of_tables_are_taken(tmp_path: Path) -> None:
    for name in (
        "tables/a/day=2026-01-01/~0f.v1.parquet",
        "tables/weights/day=2026-01-01/20260101T000000000000-7.parquet",
    ):
        assert archive.SAFE.fullmatch(name)
    for name in ("tables", "tables/", "tables//a", "tables/a/..", "tables/a\n", "validator.db/x", "x"):
        assert not archive.SAFE.fullmatch(name)


@pytest.mark.parametrize("what", ["restore", "backup"])
def test_killed_anywhere_it_leaves_the_old_or_the_new(
    backup: Path, places: Places, settings: Settings, what: str
) -> None:
    """Killed before each of its steps in turn: see `killed`."""
    accept(settings, "c-3")
    command = [sys.executable, "-m", "tests.backup.killed", what, str(backup), str(places.home)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    steps = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(steps) > 10
    if what == "restore":
        old, new = ["c-1", "c-2", "c-3"], ["c-1", "c-2"]
        assert [step["challenges"] for step in steps] == sorted((step["challenges"] for step in steps), key=len)[::-1]
        assert {tuple(step["challenges"]) for step in steps} == {tuple(old), tuple(new)}
        assert all(step["tables"] == step["challenges"] for step in steps)
        assert all(step["old_is_kept"] for step in steps)
        assert all(step["again"] for step in steps), "the next try succeeds, and removes what was left"
    else:
        assert {step["whole"] for step in steps} == {None, True}


def test_days_that_are_compacted_come_back_as_they_were(places: Places, tmp_path: Path) -> None:
    assert places.tables is not None
    tables = Tables(str(places.tables))
    compaction = DayCompaction(tables, "miner_responses", NOW.date(), lambda: NOW + timedelta(days=5))
    assert compaction.run().packed == 2
    tables.objects.remove(tables.path("miner_responses", TableKey(NOW.date(), "c-1")))
    taken = take_backup(places, tmp_path / "b.tar", NOW)
    restore_backup(taken.path, Places.usual(tmp_path / "new"), NOW, force=False, say=lambda _: None)
    assert texts_in(tmp_path / "new") == {"c-1", "c-2"}
    restored = Tables(str(tmp_path / "new" / "tables"))
    later = DayCompaction(restored, "miner_responses", NOW.date(), lambda: NOW + timedelta(days=6))
    assert (later.run().removed, later.done.packed) == (1, 0), "what a part holds is known by its digest"
    assert texts_in(tmp_path / "new") == {"c-1", "c-2"}
