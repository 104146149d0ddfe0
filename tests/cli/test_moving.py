"""`loosh import-validator`: what it says, and how it ends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import Result
from typer.testing import CliRunner

import loosh_pipeline.cli.moving as command_module
import loosh_pipeline.moving.importing as importing_module
from loosh_pipeline.cli import app
from loosh_pipeline.policy.inputs import LastVector
from tests.existing import build, build_users, evaluation, hotkeys

ALICE, BOB = hotkeys(2)
AGO = timedelta(hours=1)


def loosh(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import-validator", *map(str, arguments)], env={"COLUMNS": "300"})


@pytest.fixture
def database(tmp_path: Path) -> Path:
    now = datetime.now(UTC)
    rows = [evaluation(now - AGO, {ALICE: 0.5, BOB: -1}), (None, 1, 0.5, None, None, "[bold]", "no time")]
    return build(tmp_path / "validator.db", rows, [ALICE])


def test_people_read_what_was_kept_what_was_not_and_what_it_means(database: Path) -> None:
    found = loosh(database)
    assert found.exit_code == 0
    for said in (
        "1 evaluations of 1 hotkeys",
        "the emission is negative, such as id 1",
        "its time cannot be read, such as id 2: 'no time', '[bold]'",
        "who is registered is read from the chain",
        "weights are the network's moving average of the last 24 h of these evaluations (basis imported)",
    ):
        assert said in found.stdout
    assert found.stderr == ""


def test_programs_read_one_object_and_nothing_else(tmp_path: Path, database: Path) -> None:
    build_users(tmp_path / "users.db", [(ALICE, datetime.now(UTC))])
    found = loosh(database, "--json", "--dry-run")
    assert found.exit_code == 0
    told: dict[str, Any] = json.loads(found.stdout)
    assert told["dry_run"] is True
    assert told["emissions"]["new"] == 1
    assert told["users"] == {
        "database": str(tmp_path / "users.db"), "read": 1, "new": None, "without_room": 0
    }  # fmt: skip
    assert {each["why"]: each["count"] for each in told["skipped"]} == {
        "the emission is negative": 1,
        "its time cannot be read": 1,
    }
    assert told["not_taken_over"][0]["table"] == "miners"
    assert json.loads(loosh(database, "--json").stdout)["emissions"] == {"new": 1, "known": 0, "contradicting": 0}


def test_what_is_known_is_no_failure(database: Path) -> None:
    assert loosh(database).exit_code == 0
    again = loosh(database)
    assert again.exit_code == 0
    assert "imported before" in again.stdout


def test_an_empty_database_has_nothing_to_take_over(tmp_path: Path) -> None:
    found = loosh(build(tmp_path / "validator.db"))
    assert found.exit_code == 3
    assert "No emission can be used: weights begin with this validator's own rounds." in found.stdout


def test_old_rows_are_kept_and_said_to_be_too_old(tmp_path: Path) -> None:
    then = datetime.now(UTC) - timedelta(hours=50)
    found = loosh(build(tmp_path / "validator.db", [evaluation(then, {ALICE: 0.5})]))
    assert found.exit_code == 0
    assert "50 h ago, and weights look back 24 h: they begin with this validator's own rounds" in found.stdout


def test_a_wrong_file_is_wrong_usage_in_one_line(tmp_path: Path) -> None:
    found = loosh(tmp_path / "none.db")
    assert found.exit_code == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: ")
    assert "does not exist" in found.stderr


def test_a_damaged_file_is_a_failure(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    found = loosh(database, "--json")
    assert found.exit_code == 1
    assert found.stdout == ""


def test_a_database_that_is_being_written_is_warned_of(tmp_path: Path, database: Path) -> None:
    database.with_name("validator.db-journal").write_bytes(b"\0" * 512)
    found = loosh(database, "--json")
    assert found.exit_code == 0
    assert "is still being written" in found.stderr
    assert json.loads(found.stdout)["live"] is True


def told(database: Path, *how: str) -> str:
    return str(json.loads(loosh(database, "--json", *how).stdout)["meaning"])


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_what_pays_nobody_is_not_said_to_make_weights(tmp_path: Path, how: tuple[str, ...]) -> None:
    now = datetime.now(UTC)
    nothing = build(tmp_path / "nothing.db", [evaluation(now - AGO * i, {ALICE: 0.0}) for i in range(4)])
    assert "pay nobody" in told(nothing, *how)
    later = build(tmp_path / "later.db", [(None, 1, 0.5, None, None, "{", "no time")])
    assert told(later, *how).startswith("No emission can be used" if how else "The last 24 h of these evaluations pay")


def test_what_a_clock_that_was_ahead_imported_is_said_to_be_imported_again(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(hours=9)

    with monkeypatch.context() as patched:
        patched.setattr(command_module, "datetime", Ahead)
        assert "(basis imported)" in loosh(database).stdout
    again = loosh(database)
    assert "imported before by a clock that was ahead of now" in again.stdout
    assert "(basis imported)" in again.stdout
    assert "clock that was ahead" not in loosh(database).stdout


def test_what_comes_too_late_is_said_to_change_nothing(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = LastVector(datetime.now(UTC) + AGO, {}, rounds=9, basis="lookback")
    monkeypatch.setattr(importing_module, "last_vector", lambda *_, **__: own)
    assert "(basis imported)" in told(database, "--dry-run"), "nothing was imported before"
    assert told(database).startswith("Weights of this validator's own rounds were set since the first import")
    assert told(database, "--dry-run").startswith("Weights of this validator's own rounds were set")
