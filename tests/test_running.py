"""What `loosh up` does about a clock that is set back, a database of another program, and records of an earlier
Dagster; its processes are tiny.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.sql import create_engine, get_alembic_config, run_alembic_downgrade
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from loosh_pipeline import running
from loosh_pipeline.errors import ConfigError, ServiceError, StoreError
from loosh_pipeline.lock import only_looking
from loosh_pipeline.log_files import LogFiles
from loosh_pipeline.run_state import FILE, processes
from loosh_pipeline.running import run_validator
from loosh_pipeline.services import DAEMON, write_instance
from loosh_pipeline.settings import Settings
from loosh_pipeline.supervisor import Service
from tests.existing import build, build_users

SLEEP = "import os; print(os.getpid(), flush=True); import time; time.sleep(600)"


class Steps:
    """A clock that is set back when the daemon has said one line; when it has said another, the validator ends."""

    def __init__(self, file: Path) -> None:
        self._log = file.parent / "logs" / f"{DAEMON}.log"
        self._told = False

    def set_back_s(self) -> float:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        if len(lines) > 1:
            raise KeyboardInterrupt
        told, self._told = self._told, bool(lines)
        return 3600.0 if lines and not told else 0.0


@pytest.fixture
def put_right(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the programs that were run to put times right."""
    ran: list[str] = []

    def run(command: Sequence[str], **_: object) -> None:
        ran.append(command[-1])
        if len(ran) > 1:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(running, "services", lambda _: [Service(DAEMON, [sys.executable, "-c", SLEEP])])
    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_a_clock_set_back_before_the_start_is_put_right_first(settings: Settings, put_right: list[str]) -> None:
    settings.home.mkdir(parents=True)
    (settings.home / "clock").write_text(str(time.time() + 3600))
    said: list[str] = []

    def started() -> None:
        assert put_right == ["loosh_pipeline.clock_set_back"]
        assert only_looking(settings.home) is not None, "the directory is held"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_validator(settings, said.append, started)
    assert said[1].startswith("the clock was set back by 3600 s")
    assert only_looking(settings.home) is None
    noted = (settings.home / "validator.lock").read_text()
    assert noted == f"{os.getpid()} stopping", "the next one knows that it need only wait"


def test_the_daemon_stands_still_while_times_are_put_right(
    settings: Settings, put_right: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "ClockWatch", Steps)
    put_right.append("an earlier one")
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run_validator(settings, said.append, lambda: None)
    log = (settings.home / "logs" / f"{DAEMON}.log").read_text().splitlines()
    assert len(set(log)) == 2, "it was started again"
    assert put_right[1:] == ["loosh_pipeline.clock_set_back"]
    assert [line.partition(" ")[0] for line in said] == ["starting;", "the", "that"]
    assert "did not succeed" in said[2]


def test_a_database_that_is_locked_for_now_is_no_wrong_setting(
    own_home: Path, put_right: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With wrong settings nobody starts it again."""
    monkeypatch.setattr("loosh_pipeline.store.foreign.LOCKED_FOR_S", 0.0)
    own_home.mkdir()
    with closing(sqlite3.connect(own_home / "validator.db")) as other:
        other.execute("CREATE TABLE t (a)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="is locked by another program"):
            run_validator(Settings(), lambda _: None, lambda: None)


@pytest.mark.parametrize("brought", ["validator.db", "users.db"])
def test_an_existing_validators_database_is_refused_before_anything_starts(
    own_home: Path, put_right: list[str], brought: str
) -> None:
    """Its `.env` was brought along, or its directory is the data directory."""
    own_home.mkdir()
    path = own_home / brought
    build(path) if brought == "validator.db" else build_users(path, [])
    said: list[str] = []
    with pytest.raises(ConfigError, match="the network's existing validator"):
        run_validator(Settings(), said.append, lambda: said.append("started"))
    assert said == []
    assert list(own_home.iterdir()) == [path]


def older_history(settings: Settings) -> Path:
    """A history of runs in the schema before the newest; returns the file that tells its revision."""
    write_instance(settings.home / "dagster_home", settings)
    DagsterSqliteStorage.from_config_value(None, {"base_dir": str(settings.home / "dagster_home")})
    path = settings.home / "dagster_home" / "history" / "runs" / "index.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        run_alembic_downgrade(get_alembic_config(sqlite_event_log.__file__), connection, "-1")
    engine.dispose()
    return path


def revision_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_what_an_earlier_dagster_recorded_is_brought_to_its_schema_once(settings: Settings) -> None:
    path = older_history(settings)
    before = revision_of(path)
    said: list[str] = []
    for _ in range(2):
        running._renew_history(settings, said.append)
    assert before != revision_of(path)
    assert len(said) == 1
    assert f"records of runs from an earlier version to {version('dagster')}" in said[0]


def test_records_that_cannot_be_brought_along_stop_the_start_and_say_what_to_do(settings: Settings) -> None:
    history = settings.home / "dagster_home" / "history"
    history.mkdir(parents=True)
    write_instance(history.parent, settings)
    (history / "runs.db").write_text("no database " * 100)
    with pytest.raises(ServiceError, match=r"could not be brought to .* \(.*not a database.*\); move .* away"):
        running._renew_history(settings, lambda _: None)


def test_a_first_start_has_no_records(settings: Settings) -> None:
    said: list[str] = []
    running._renew_history(settings, said.append)
    assert (said, (settings.home / "dagster_home" / running.WRITTEN_BY).read_text()) == ([], version("dagster"))


def test_a_database_of_a_later_release_stops_the_start(settings: Settings) -> None:
    settings.home.mkdir(parents=True)
    with sqlite3.connect(settings.home / "validator.db") as connection:
        connection.executescript(
            "CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('0099')"
        )
    connection.close()
    with pytest.raises(ConfigError, match=r"schema revision 0099, .* none after 0\d+.* or restore a backup"):
        run_validator(settings, lambda _: None, lambda: None)


def test_a_log_file_that_cannot_be_written_stops_the_start(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "all.log").mkdir()
    with pytest.raises(ConfigError, match=r"LOG_FILE cannot be written: .*all\.log"):
        run_validator(settings.model_copy(update={"log_file": tmp_path / "all.log"}), lambda _: None, lambda: None)


def test_a_relative_log_file_lies_in_the_data_directory(settings: Settings) -> None:
    form = running.log_form(settings.model_copy(update={"log_file": Path("logs/all.log")}))
    assert form.together == settings.home / "logs" / "all.log"


def test_processes_of_an_earlier_start_are_forgotten_before_this_one(
    own_home: Path, put_right: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    (own_home / FILE).write_text('{"pids": {"old": 1}, "deaths": {}}')

    def fails(*_: object, **__: object) -> None:
        assert not (own_home / FILE).exists()
        raise ServiceError("no")

    monkeypatch.setattr(running, "supervised", fails)
    with pytest.raises(ServiceError):
        run_validator(Settings(), lambda _: None, lambda: None)


def test_the_common_file_has_one_writer(own_home: Path, put_right: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[LogFiles] = []
    monkeypatch.setattr(running, "LogFiles", lambda *of: made.append(LogFiles(*of)) or made[-1])
    monkeypatch.setattr("loosh_pipeline.supervisor.LogFiles", None)

    def started() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_validator(Settings(log_file=own_home / "all.log"), lambda _: None, started)
    assert len(made) == 1


def test_what_loosh_up_says_is_in_the_logs_and_its_processes_in_a_file(own_home: Path, put_right: list[str]) -> None:
    settings = Settings(log_format="json", log_file=own_home / "all.log")
    said: list[str] = []

    def started() -> None:
        assert set(processes(settings.home).pids) == {DAEMON}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_validator(settings, said.append, started)
    own = [json.loads(line) for line in (own_home / "logs" / "loosh-up.log").read_text().splitlines()]
    assert [(line["process"], line["message"]) for line in own] == [("loosh-up", said[0])]
    together = [json.loads(line)["process"] for line in (own_home / "all.log").read_text().splitlines()]
    assert together[0] == "loosh-up"
