"""`loosh backup` and `loosh restore`: what they print, and how they end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from loosh_pipeline.backup import taking
from loosh_pipeline.backup.taking import short_id
from loosh_pipeline.cli import app
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.inbox import Inbox


def loosh(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], terminal_width=200)


@pytest.fixture
def filled(settings: Settings) -> Settings:
    inbox = Inbox.open(settings.inbox_url)
    inbox.accept(ChallengeId("c-1"), {"id": "c-1", "prompt": "why?"}, datetime.now(UTC))
    inbox.engine.dispose()
    return settings


def test_a_backup_without_a_place_lies_in_the_home_and_comes_back_from_there(filled: Settings) -> None:
    taken = loosh("backup", "--json")
    assert taken.exit_code == 0, taken.output
    told = json.loads(taken.stdout)
    path = Path(told["path"])
    assert path.parent == filled.home / "backups"
    assert told["manifest"]["rows"]["challenges"] == 1
    checked = json.loads(loosh("restore", path, "--check", "--json").stdout)
    assert (checked["whole"], checked["manifest"]) == (True, told["manifest"])
    restored = loosh("restore", path, "--force", "--json")
    assert json.loads(restored.stdout)["home"] == str(filled.home)
    assert "what was there is in" in restored.stderr
    assert path.exists(), "backups that lie in the home stay there"


def test_for_people(filled: Settings, tmp_path: Path) -> None:
    taken = loosh("backup", tmp_path / "b.tar")
    assert f"{tmp_path / 'b.tar'}: 1 challenges, 0 tables, " in taken.stdout
    assert "b.tar is whole: 1 challenges" in loosh("restore", tmp_path / "b.tar", "--check").stdout
    assert loosh("restore", tmp_path / "b.tar", "--into", tmp_path / "n").stdout.startswith(
        f"{tmp_path / 'n'} holds 1 "
    )


def test_old_ones_are_deleted_in_a_folder_only(filled: Settings, tmp_path: Path) -> None:
    old = tmp_path / f"loosh-1.0.0-{short_id(filled)}-20200101T000000Z.tar"
    old.touch()
    (tmp_path / "loosh-1.0.0-somebody-20200101T000000Z.tar").touch()
    assert json.loads(loosh("backup", tmp_path, "--keep", 1, "--json").stdout)["deleted"] == [str(old)]
    refused = loosh("backup", tmp_path / "x.tar", "--keep", 1)
    assert (refused.exit_code, "is a file" in refused.stderr) == (2, True)


def test_a_backup_in_which_tables_are_missing_says_so_and_replaces_none(
    filled: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / f"loosh-1.0.0-{short_id(filled)}-20200101T000000Z.tar"
    old.touch()
    gone = filled.home / "tables" / "weights" / "day=2026-03-04" / "gone.parquet"
    gone.parent.mkdir(parents=True)
    monkeypatch.setattr(taking, "_apart", lambda _: iter([gone]))
    taken = loosh("backup", tmp_path, "--keep", 1, "--json")
    assert taken.exit_code == 1
    assert json.loads(taken.stdout)["skipped"] == [f"{gone}: it was removed meanwhile"]
    assert "so no older backup was deleted; take another one" in taken.stderr
    assert old.exists()


def test_nothing_to_back_up_is_an_end_of_its_own() -> None:
    found = loosh("backup")
    assert (found.exit_code, found.stdout) == (3, "")
    assert "was LOOSH_HOME meant?" in found.stderr


def test_what_is_refused_ends_with_a_line(filled: Settings, tmp_path: Path) -> None:
    assert loosh("backup", tmp_path / "b.tar").exit_code == 0
    refused = loosh("restore", tmp_path / "b.tar")
    assert (refused.exit_code, "restore with --force" in refused.stderr) == (2, True)
    missing = loosh("restore", tmp_path / "none.tar")
    assert (missing.exit_code, missing.stderr) == (1, f"error: there is no backup {tmp_path / 'none.tar'}\n")


def test_what_a_server_keeps_is_told(filled: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TABLES_DIR", "memory://tables")
    get_settings.cache_clear()
    assert "not in it: tables: TABLES_DIR names an object store" in loosh("backup", tmp_path / "b.tar").stderr


def test_a_directory_that_is_not_mounted_does_not_become_a_file(filled: Settings, tmp_path: Path) -> None:
    refused = loosh("backup", tmp_path / "elsewhere")
    assert (refused.exit_code, (tmp_path / "elsewhere").exists()) == (2, False)
    assert "there is no directory" in refused.stderr


def test_files_where_directories_are_meant_are_told_in_a_line(filled: Settings, tmp_path: Path) -> None:
    assert loosh("backup", tmp_path / "b.tar").exit_code == 0
    (filled.home / "backups").write_text("mine")
    (tmp_path / "file").write_text("mine")
    ended = [loosh("backup"), loosh("restore", tmp_path / "b.tar", "--into", tmp_path / "file")]
    ended += [loosh("restore", tmp_path, *more) for more in ([], ["--check"])]
    ended += [loosh("restore", tmp_path / "file" / "x.tar", "--check"), loosh("backup", tmp_path / "file" / "x.tar")]
    for each in ended:
        assert (each.exit_code in (1, 2), each.stderr.count("\n")) == (True, 1), each.output
        assert each.stderr.startswith("error: ")


def test_a_home_that_is_a_file_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("LOOSH_HOME", str(tmp_path / "file"))
    assert loosh("backup").exit_code == 3
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@h/x")
    get_settings.cache_clear()
    refused = loosh("backup")
    assert (refused.exit_code, refused.stderr) == (1, f"error: {tmp_path / 'file' / 'backups'}: Not a directory\n")
