"""Databases as earlier releases left them, with rows in every table: opened, migrated, and used by today's code.

`released/SCHEMA-REVISION.sql` are dumps of real ones. A new revision gets a dump here before it is released.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from loosh_pipeline.backup.places import Places
from loosh_pipeline.backup.restoring import restore_backup
from loosh_pipeline.backup.taking import take_backup
from loosh_pipeline.domain import ChallengeId, ChallengeState, Hotkey, Outcome
from loosh_pipeline.embedding.round_vectors import unpack
from loosh_pipeline.errors import StoreError
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.scoring.score import score
from loosh_pipeline.store.database import Schema, _config, open_database, reading, schema_version
from loosh_pipeline.store.frames import metagraph_of, responses_of
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.leases import Leases
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.schema import inbox_metadata, users_metadata
from loosh_pipeline.store.score_tables import ScoreTables
from loosh_pipeline.store.submissions import Submissions
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.users import Users
from loosh_pipeline.store.vector_frames import from_frame
from loosh_pipeline.store.weighing import last_vector, newest_earned

RELEASED = Path(__file__).parent / "released"
INBOXES = sorted(path.stem.partition("-")[2] for path in RELEASED.glob("inbox-*.sql"))
THEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NOW = datetime(2026, 2, 1, tzinfo=UTC)
STATES = {state: f"c-{state}" for state in ("received", "dispatched", "scored", "submitted", "failed")}


def laid_down(path: Path, schema: Schema, revision: str) -> Path:
    with sqlite3.connect(path) as connection:
        connection.executescript((RELEASED / f"{schema}-{revision}.sql").read_text("utf-8"))
    connection.close()
    return path


@pytest.fixture(params=INBOXES)
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox.open(f"sqlite:///{laid_down(tmp_path / 'x.db', 'inbox', request.param)}")
    yield inbox
    inbox.engine.dispose()


@pytest.mark.parametrize("schema", ["inbox", "users"])
def test_there_is_a_dump_of_every_revision_and_files_begin_with_theirs(schema: Schema) -> None:
    scripts = {script.revision: script for script in ScriptDirectory.from_config(_config(schema)).walk_revisions()}
    assert {path.stem.partition("-")[2] for path in RELEASED.glob(f"{schema}-*.sql")} == scripts.keys()
    assert all(Path(script.path).name.startswith(f"{revision}_") for revision, script in scripts.items())


def test_the_schema_is_todays(inbox: Inbox) -> None:
    with reading(inbox.engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, inbox_metadata) == []


def test_challenges_are_kept_and_go_on(inbox: Inbox) -> None:
    rows = {row.state.value: row for row in inbox.recent(10)}
    assert {state: str(row.id) for state, row in rows.items()} == STATES
    assert {row.received_at for row in rows.values()} == {THEN}
    assert rows["scored"].request == {"id": "c-scored", "prompt": "warum? é"}
    assert (rows["scored"].asked, rows["scored"].answered, rows["failed"].failure) == (7, 6, "no miner answered")
    assert {str(row.id) for row in inbox.stalled(NOW, 10)} == {"c-dispatched"}
    assert inbox.unpark(NOW) == 1
    inbox.accept(ChallengeId("c-new"), {"id": "c-new", "prompt": "why?"}, NOW)
    assert inbox.get(ChallengeId("c-new")).state is ChallengeState.RECEIVED
    assert inbox.stats().total == 6


def test_what_waits_to_be_told_is_told(inbox: Inbox) -> None:
    outbox = Outbox(inbox.engine)
    (due,) = outbox.lease(NOW, 10)
    assert (due.key, due.challenge_id, due.payload, due.attempts) == ("c-scored", "c-scored", b'{"a":1}', 4)
    outbox.delivered(due, "HTTP 201", NOW)
    assert inbox.get(ChallengeId("c-scored")).state is ChallengeState.SUBMITTED


def test_the_ledger_of_weights_is_kept_and_continued(inbox: Inbox) -> None:
    rows = Submissions(inbox.engine).recent(78, Hotkey("5Validator"))
    with Leases(inbox.engine).held("weights", "run-2", NOW - THEN, lambda: NOW) as lease:
        if not rows:  # before there was one
            return
        assert lease.fence > 41
    assert [(row.state.value, dict(row.plan.weights)) for row in rows] == [("observed", {3: 65535})]


def test_users_are_kept(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{laid_down(tmp_path / 'x.db', 'users', '0001')}", "users")
    assert Users(engine).count() == 1
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), users_metadata) == []
    engine.dispose()


def test_a_backup_of_an_earlier_release_is_restored_and_migrated(tmp_path: Path) -> None:
    laid_down(tmp_path / "validator.db", "inbox", "0001")
    old, new = Places.usual(tmp_path), Places.usual(tmp_path / "new")
    taken = take_backup(old, tmp_path / "b.tar", NOW)
    assert taken.manifest.revisions == {"validator.db": "0001"}
    restore_backup(taken.path, new, NOW, force=False, say=lambda _: None)
    engine: Engine = open_database(f"sqlite:///{new.inbox}", "inbox")
    assert (schema_version(engine), len(Inbox(engine).recent(10))) == ("0007", 5)
    engine.dispose()


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Tables of one round that release 1.3.0 evaluated."""
    shutil.copytree(RELEASED / "tables-1.3.0", tmp_path / "tables")
    return Tables(str(tmp_path / "tables"))


PROMPT = (
    "How does a vaccine teach the immune system to fight a disease? "
    "Explain it for someone without a science background."
)


def test_a_round_of_1_3_0_is_read_and_scored_again(tables: Tables) -> None:
    """Columns that came later are missing in it; it is paid by today's scorer once it was scored by that."""
    (key,) = tables.newest_first("miner_responses")
    responses = responses_of(tables.read("miner_responses", key))
    assert (len(responses), sum(response.outcome is Outcome.ANSWERED for response in responses)) == (10, 9)
    assert len(metagraph_of(tables.read("metagraph", next(tables.newest_first("metagraph")))).neurons) == 11

    vectors = from_frame(tables.read("embeddings", key))
    scores, came = ScoreTables(tables), datetime(2026, 11, 26, 3, 17, tzinfo=UTC)
    past = scores.context_at(came, vectors.model_digest, vectors.vectors.shape[1])
    profile = RobustProfile()
    result = score(unpack(vectors, PROMPT, responses), past, profile, vectors.model_digest)
    scores.write(key, result, profile, vectors.model_digest, came)
    with duckdb.connect() as connection:
        window = scores.window_rows(connection, profile, came - timedelta(days=1)).scores
    assert window.height == 10
    assert len(list(tables.newest_first("consensus_scores"))) == 2, "the scores of then stay"


def test_weights_that_1_3_0_set_are_what_new_ones_are_compared_with(tables: Tables) -> None:
    last = last_vector(tables)
    assert last is not None
    assert (len(last.shares), last.set_at.date()) == (8, date(2026, 11, 26))
    with pytest.raises(StoreError, match=r"are of release 1\.3\.0; materialize emissions first"):
        newest_earned(tables)


KILLED_MIGRATION = """
import sys, time
from alembic import op
from loosh_pipeline.store.database import open_database

def stop(*arguments, **options):
    print("half way", flush=True)
    time.sleep(60)
op.create_index = stop
open_database(sys.argv[1], "inbox")
"""


@pytest.mark.parametrize("revision", INBOXES[:-1])
def test_a_killed_migration_is_none(tmp_path: Path, revision: str) -> None:
    """Killed after tables were made or changed: the next start finds the old database, and migrates that."""
    path = laid_down(tmp_path / "x.db", "inbox", revision)
    command = [sys.executable, "-c", KILLED_MIGRATION, f"sqlite:///{path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        process.send_signal(signal.SIGKILL)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(revision,)]
        assert connection.execute("SELECT count(*) FROM challenges").fetchone() == (5,)
    connection.close()
    engine = open_database(f"sqlite:///{path}", "inbox")
    assert (schema_version(engine), len(Inbox(engine).recent(10))) == ("0007", 5)
    engine.dispose()
