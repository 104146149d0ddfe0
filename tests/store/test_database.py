"""Opening, migrating and tuning the databases; real processes where they meet."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from loosh_pipeline.errors import StoreError
from loosh_pipeline.store import database, foreign
from loosh_pipeline.store.database import Schema, open_database, reading, schema_version, version_table
from loosh_pipeline.store.foreign import check_ours
from loosh_pipeline.store.schema import inbox_metadata, users_metadata
from tests.existing import SCHEMA, USERS
from tests.together import together

SCHEMAS: list[tuple[Schema, MetaData]] = [("inbox", inbox_metadata), ("users", users_metadata)]

ALEMBICS = """
CREATE TABLE alembic_version (version_num);
INSERT INTO alembic_version VALUES ('0001');
CREATE TABLE ab_user (id);
"""
"""Of another program that keeps its schema by alembic."""
OPEN_WHEN_TOLD = """
import sys
from loosh_pipeline.store.database import open_database, schema_version
print("ready", flush=True)
sys.stdin.readline()
print(schema_version(open_database(sys.argv[1], "inbox")), flush=True)
"""


@pytest.fixture
def migrations() -> None:
    """The real ones."""


@pytest.mark.parametrize(("schema", "metadata"), SCHEMAS)
def test_migrated_schema_is_the_declared_one(inbox_url: str, schema: Schema, metadata: MetaData) -> None:
    engine = open_database(inbox_url, schema)
    with reading(engine) as connection:
        opts = {"compare_type": True, "version_table": version_table(connection, schema)}
        assert compare_metadata(MigrationContext.configure(connection, opts=opts), metadata) == []
    engine.dispose()


def test_both_schemas_live_in_one_server(inbox_url: str) -> None:
    if inbox_url.startswith("sqlite"):
        pytest.skip("a file holds one schema")
    for _ in range(2):
        engines = {schema: open_database(inbox_url, schema) for schema in ("inbox", "users")}  # type: ignore[arg-type]
        found = {schema: schema_version(engine, schema) for schema, engine in engines.items()}  # type: ignore[arg-type]
        assert found == {"inbox": "0007", "users": "0001"}
        for engine in engines.values():
            engine.dispose()


def test_the_comparison_sees_a_missing_column(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/x.db", "users")
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE users DROP COLUMN updated_at"))
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), users_metadata)


@pytest.mark.parametrize("look", [open_database, database.stands_at])
def test_on_a_full_disk_space_is_asked_for_and_never_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[str, Schema], object]
) -> None:
    file = tmp_path / "x.db"
    file.write_bytes(b"\0" * 4096)
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:4], 0, *real[5:])))
    with pytest.raises(StoreError, match=r"file is not a database; the disk is full: free space") as raised:
        look(f"sqlite:///{file}", "inbox")
    said = str(raised.value)
    assert "backup" not in said
    assert "sqlalche.me" not in said
    assert "\n" not in said


@pytest.mark.parametrize(("schema", "_metadata"), SCHEMAS)
def test_newer_data_is_refused_and_left_alone(tmp_path: Path, schema: Schema, _metadata: MetaData) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with open_database(url, schema).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"the .* database .*x\.db has schema revision 9999, .* none after 000"):
        open_database(url, schema)
    with sqlite3.connect(tmp_path / "x.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


@pytest.mark.parametrize(
    ("schema", "script", "said"),
    [
        (
            "inbox",
            SCHEMA.format(unique_node_id=""),
            "existing validator. Let DB_PATH name a file that does not exist yet",
        ),
        ("users", USERS, "existing validator. Let USERS_DB_PATH name a file that does not exist yet"),
        ("inbox", "CREATE TABLE bookmarks (url)", "its tables are bookmarks. Let DB_PATH name another file"),
        ("inbox", ALEMBICS, "its tables are ab_user, alembic_version. Let DB_PATH name another file"),
        ("users", ALEMBICS, "its tables are ab_user, alembic_version. Let USERS_DB_PATH name another file"),
    ],
)
def test_the_database_of_another_program_is_not_touched(tmp_path: Path, schema: Schema, script: str, said: str) -> None:
    """A `.env` of the existing validator names its databases as ours are named."""
    path = tmp_path / "it's 100%.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=re.escape(said)):
        open_database(f"sqlite:///{path}", schema)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_database_that_somebody_locks_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free again a moment later, it would be migrated, whosever it is."""
    monkeypatch.setattr(foreign, "LOCKED_FOR_S", 0.0)
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE bookmarks (url)")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"x\.db is locked by another program, .*: database is locked\. Stop that"):
            check_ours(path, "inbox")
    with pytest.raises(StoreError, match="its tables are bookmarks"):
        check_ours(path, "inbox")


@pytest.mark.parametrize("content", [None, b"no database at all" * 100])
def test_what_cannot_be_read_is_told_by_whoever_opens_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.db"
    if content is not None:
        path.write_bytes(content)
    check_ours(path, "inbox")
    if content is not None:
        with pytest.raises(StoreError, match=r"cannot open the inbox database .*file is not a database"):
            open_database(f"sqlite:///{path}", "inbox")
        assert path.read_bytes() == content


def test_processes_that_come_at_once_migrate_once(inbox_url: str) -> None:
    processes = together(4, OPEN_WHEN_TOLD, inbox_url)
    ended = [process.communicate(timeout=60) for process in processes]

    assert [out for out, _ in ended] == ["0007\n"] * 4, [err for _, err in ended]
    engine = create_engine(inbox_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() == 1
    engine.dispose()


def test_an_older_outbox_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "migrations" / "inbox" / "versions"
    folder.mkdir(parents=True)
    ours = database.MIGRATIONS / "inbox"
    (folder.parent / "env.py").write_text((ours / "env.py").read_text())
    (folder / "0001_inbox.py").write_text((ours / "versions" / "0001_inbox.py").read_text())
    url = f"sqlite:///{tmp_path}/x.db"
    with monkeypatch.context() as older:
        older.setattr(database, "MIGRATIONS", tmp_path / "migrations")
        engine = open_database(url, "inbox")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO challenges (id, request, state, received_at, state_changed_at, attempts, asked, answered,"
                " elapsed_ms_sum) VALUES ('c-1', '{}', 'scored', '2026-01-01', '2026-01-01', 1, 0, 0, 0)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO outbox (kind, challenge_id, payload, state, attempts, created_at, next_attempt_at)"
                " VALUES ('response_batch', 'c-1', x'7b7d', 'pending', 0, '2026-01-01', '2026-01-01')"
            )
        )
    engine.dispose()
    with reading(open_database(url, "inbox")) as connection:
        rows = connection.execute(text("SELECT kind, key, challenge_id, payload FROM outbox")).all()
    assert rows == [("response_batch", "c-1", "c-1", b"{}")]


def test_a_failed_migration_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "50%" / "users"
    versions = folder / "versions"
    versions.mkdir(parents=True)
    (folder / "env.py").write_text((database.MIGRATIONS / "users" / "env.py").read_text())
    (versions / "0001_half.py").write_text(
        "from alembic import op\nrevision = '0001'\ndown_revision = None\n"
        "def upgrade():\n    op.execute('CREATE TABLE half (a)')\n    op.execute('CREATE nonsense')\n"
    )
    monkeypatch.setattr(database, "MIGRATIONS", tmp_path / "50%")
    with pytest.raises(StoreError, match="nonsense"):
        open_database(f"sqlite:///{tmp_path}/x.db", "users")
    with sqlite3.connect(tmp_path / "x.db") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


def test_every_connection_is_durable_and_checks_references(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/x.db", "inbox")
    assert schema_version(engine) == "0007"
    with reading(engine) as one, reading(engine) as two:
        for connection in (one, two):
            pragmas = {name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in PRAGMAS}
            assert pragmas == PRAGMAS
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(f"INSERT INTO outbox VALUES ({', '.join(['1'] * 11)})"))


PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": database.BUSY_TIMEOUT_MS}


@pytest.mark.parametrize("schema", [schema for schema, _ in SCHEMAS])
def test_a_new_database_is_for_its_owner_only_and_an_older_one_is_left_as_it_is(tmp_path: Path, schema: Schema) -> None:
    """Session keys lie in it; who lets others read what was there before does so knowingly."""
    path = tmp_path / "deep" / "validator.db"
    engine = open_database(f"sqlite:///{path}", schema)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    engine.dispose()
    assert modes == dict.fromkeys(("validator.db", "validator.db-wal", "validator.db-shm"), 0o600)

    path.chmod(0o640)
    open_database(f"sqlite:///{path}", schema).dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_reader_neither_waits_for_a_writer_nor_sees_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    engine = open_database(f"sqlite:///{tmp_path}/x.db", "users")
    count = text("SELECT count(*) FROM users")
    with engine.begin() as writer:
        writer.execute(text("INSERT INTO users VALUES ('a', '2026-01-01', '2026-01-01')"))
        with reading(engine) as reader:
            assert reader.execute(count).scalar_one() == 0
        with pytest.raises(OperationalError, match="locked"), engine.begin():
            pytest.fail("two write transactions at once")
    with reading(engine) as reader:
        assert reader.execute(count).scalar_one() == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("validator.db", "URL of the inbox database cannot be read; write it like sqlite:"),
        ("sqlite:////proc/none/x.db", "cannot open the inbox database sqlite:////proc/none/x.db"),
        ("nosuch://host/x", "cannot open the inbox database nosuch://host/x"),
        ("postgresql+psycopg2://u:hunter2@127.0.0.1:1/x", r"u:\*\*\*@127.0.0.1"),
        ("postgresql://u:hunter2@127.0.0.1:1/x", r"postgresql\+psycopg2://u:\*\*\*@127.0.0.1.*refused"),
        ("postgres://u:hunter2@127.0.0.1:1/x", r"postgresql\+psycopg2://u:\*\*\*@127.0.0.1.*refused"),
        ("postgresql+asyncpg://u:hunter2@127.0.0.1:1/x", r"cannot open .*asyncpg"),
    ],
)
def test_what_cannot_be_opened_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_database(url, "inbox")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is a text file, and long enough not to be taken for an empty database" * 20)
    with pytest.raises(StoreError, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/x.db", "inbox")


def test_errors_quote_nothing_of_what_was_to_be_written(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/validator.db", "inbox")
    row = {"name": "running", "value": "a prompt", "changed_at": None}
    with pytest.raises(IntegrityError) as refused, engine.begin() as connection:
        connection.execute(text("INSERT INTO flags VALUES (:name, :value, :changed_at)"), row)
    engine.dispose()
    assert "a prompt" not in str(refused.value)
