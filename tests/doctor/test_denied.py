"""Another user than the one whose validator it is: what is said, and that nobody is told to take anything away."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loosh_pipeline.chain.wallet import create_wallet, load_signer
from loosh_pipeline.cli import app
from loosh_pipeline.doctor import disks, stores
from loosh_pipeline.doctor.at_start import check_obstacles
from loosh_pipeline.errors import ConfigError, ServiceError
from loosh_pipeline.owners import when_denied
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.supervisor import free_ports
from tests.doctor.conftest import Doctor, only

NOBODY, DAEMON = 65534, 1
two_users = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")


@pytest.fixture
def home() -> Iterator[Path]:
    """A validator's, in a directory that only its user may enter."""
    above = Path(tempfile.mkdtemp(prefix="loosh-denied-"))
    home = above / "home"
    home.mkdir()
    create_wallet(above, "validator", "validator")
    Inbox.open(f"sqlite:///{home}/validator.db").engine.dispose()
    if os.geteuid() == 0:
        for each in (above, *above.rglob("*")):
            os.chown(each, DAEMON, DAEMON)
    above.chmod(0o700)
    yield home
    shutil.rmtree(above)


@contextmanager
def user(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@two_users
def test_a_home_that_one_may_not_enter_is_its_owners(home: Path) -> None:
    settings = Settings(loosh_home=home, wallet_path=home.parent)
    with user(NOBODY):
        found = only(each for each in disks.disks(settings) if each.verdict == "wrong")
        databases = list(stores.databases(settings))
        with pytest.raises(ServiceError, match="cannot be written by this user; run it as daemon"):
            check_obstacles(settings)
    assert found.said == f"{home.parent} (LOOSH_HOME) cannot be written by this user"
    assert found.todo == f"run it as daemon, whose {home.parent} is"
    assert {(each.verdict, each.todo) for each in databases} == {("wrong", found.todo)}
    assert "Permission denied" in databases[0].said


@two_users
def test_what_is_roots_is_not_taken_and_ones_own_is_opened(tmp_path: Path) -> None:
    with user(NOBODY):
        said = when_denied(Path("/root/x/y"))
    assert said == "/root is root's: have root give /root/x/y to nobody, or set another path"
    assert when_denied(tmp_path / "own") == f"let its owner use it: `chmod u+rwX {tmp_path}`"


@two_users
def test_a_wallet_that_one_may_not_read_is_no_reason_to_make_another(home: Path) -> None:
    with user(NOBODY), pytest.raises(ConfigError) as denied:
        load_signer(home.parent, "validator", "validator")
    assert f"run it as daemon, whose {home.parent} is" in str(denied.value)
    assert "wallet new" not in str(denied.value)


@two_users
@pytest.mark.parametrize("command", [["backup"], ["status"]])
def test_commands_say_it_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("LOOSH_HOME", str(home))
    CliRunner().invoke(app, command)  # loads what the other user may not read
    with user(NOBODY):
        ended = CliRunner().invoke(app, command)
    assert (ended.exit_code, len(ended.stderr.strip().splitlines())) == (1, 1), ended.output
    assert str(home) in ended.stderr


@two_users
def test_the_doctor_says_it_of_each_part_and_no_check_fails_itself(doctor: Doctor, home: Path) -> None:
    (port,) = free_ports(1)
    dead = f"ws://127.0.0.1:{port}"  # another user may not start our Python, which reads the subnet
    doctor(SUBTENSOR_ADDRESS=dead)  # loads what the other user may not read
    with user(NOBODY):
        code, told = doctor(LOOSH_HOME=str(home), WALLET_PATH=str(home.parent), SUBTENSOR_ADDRESS=dead)
    assert code == 1
    assert not [each for found in told.values() for each in found if "failed itself" in each["said"]]
    todos = {subject: {each["todo"] for each in told[subject]} for subject in ("disk", "database", "wallet")}
    assert {subject for subject, found in todos.items() if f"run it as daemon, whose {home.parent} is" in found} == set(
        todos
    )


@pytest.mark.parametrize("what", ["a lock that is a directory", "a loop"])
def test_a_home_that_is_none_is_told_as_everything_else(doctor: Doctor, tmp_path: Path, what: str) -> None:
    home = tmp_path / "home"
    if what == "a loop":
        home.symlink_to(home)
    else:
        (home / "validator.lock").mkdir(parents=True)
    code, told = doctor(LOOSH_HOME=str(home))
    assert not [each for found in told.values() for each in found if "failed itself" in each["said"]]
    if what == "a loop":
        assert (code, "Too many levels of symbolic links" in told["disk"][0]["said"]) == (1, True)


def test_looking_at_a_database_leaves_nothing_beside_it(home: Path) -> None:
    before = sorted(home.iterdir())
    assert "inbox up to date" in only(stores.databases(Settings(loosh_home=home))).said
    assert sorted(home.iterdir()) == before == [home / "validator.db"]


def test_one_that_is_in_use_is_looked_at_with_its_journal(home: Path) -> None:
    inbox = Inbox.open(f"sqlite:///{home}/validator.db")
    with inbox.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert (home / "validator.db-wal").stat().st_size
    assert "9999" in only(each for each in stores.databases(Settings(loosh_home=home)) if each.verdict == "wrong").said
    inbox.engine.dispose()


def test_a_backup_is_for_what_is_broken_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loosh_pipeline.store.database.LOOK_WITHIN_S", 0.0)
    settings = Settings(loosh_home=home)
    with closing(sqlite3.connect(home / "validator.db")) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE alembic_version SET version_num = version_num")
        locked = only(each for each in stores.databases(settings) if each.verdict == "wrong")
    (home / "validator.db").write_bytes(b"no database, " * 100)
    broken = only(each for each in stores.databases(settings) if each.verdict == "wrong")
    monkeypatch.setattr("loosh_pipeline.store.database.LOOK_WITHIN_S", 1.0)
    away = settings.model_copy(update={"database_url": "postgresql://loosh:pw@127.0.0.1:1/loosh"})
    unreachable = only(each for each in stores.databases(away) if each.verdict == "wrong")
    assert "locked" in locked.said
    assert ["backup" in each.todo for each in (locked, broken, unreachable)] == [False, True, False]
    assert "is the server up" in unreachable.todo
    assert locked.todo
