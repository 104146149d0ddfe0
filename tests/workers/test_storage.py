"""The same files and tables as the stock storage, from connections that are kept, in many processes."""

import errno
import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.events import DagsterEvent, DagsterEventType, EngineEventData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from loosh_pipeline.workers.__main__ import clear
from loosh_pipeline.workers.storage import Engines, WarmRunStorage, WarmSqliteStorage, sweep_copies

RUN = "11111111-1111-1111-1111-111111111111"


def opened(home: Path, warm: bool) -> dg.DagsterInstance:
    """The instance in `home` through this storage, or through the stock one."""
    own = {"module": "loosh_pipeline.workers.storage", "class": "WarmSqliteStorage", "config": {"base_dir": str(home)}}
    content = {"telemetry": {"enabled": False}} | ({"storage": {"custom": own}} if warm else {})
    (home / "dagster.yaml").write_text(yaml.safe_dump(content))
    return dg.DagsterInstance.from_config(str(home))


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[WarmSqliteStorage]:
    storage = WarmSqliteStorage.from_local(str(tmp_path))
    yield storage
    storage.dispose()


def note(storage: DagsterSqliteStorage, run_id: str, message: str) -> None:
    event = DagsterEvent(
        DagsterEventType.ENGINE_EVENT.value, job_name="job", message=message, event_specific_data=EngineEventData()
    )
    entry = EventLogEntry(
        error_info=None,
        level=10,
        user_message=message,
        run_id=run_id,
        timestamp=time.time(),
        dagster_event=event,
        job_name="job",
    )
    storage.event_log_storage.store_event(entry)


def noted(storage: DagsterSqliteStorage, run_id: str) -> list[str]:
    return [entry.user_message for entry in storage.event_log_storage.get_logs_for_run(run_id)]


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def numbers(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"key": context.partition_key})


def test_either_storage_reads_what_the_other_wrote(tmp_path: Path) -> None:
    written: dict[str, list[str]] = {}
    for key, warm in (("a", True), ("b", False)):
        with opened(tmp_path, warm) as instance:
            result = dg.materialize([numbers], instance=instance, partition_key=key)
            written[result.run_id] = [event.message for event in instance.all_logs(result.run_id)]
    for warm in (True, False):
        with opened(tmp_path, warm) as instance:
            assert isinstance(instance.run_storage, WarmRunStorage) is warm
            assert instance.get_materialized_partitions(dg.AssetKey("numbers")) == {"a", "b"}
            found = {
                run.run_id: [event.message for event in instance.all_logs(run.run_id)] for run in instance.get_runs()
            }
            assert found == written


def test_partition_keys_are_those_of_the_stock_storage_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    keys = ["c-2", "c-10", "ünï/ c'1", "c-1"]
    with opened(tmp_path, warm=True) as instance:
        assert instance.get_dynamic_partitions("challenges") == []
        for key in keys:
            instance.add_dynamic_partitions("challenges", [key])
        instance.add_dynamic_partitions("other", ["of another"])
        instance.delete_dynamic_partition("challenges", "c-10")
        kept = instance.get_dynamic_partitions("challenges")
    assert kept == ["c-2", "ünï/ c'1", "c-1"]
    with opened(tmp_path, warm=False) as instance:
        assert instance.get_dynamic_partitions("challenges") == kept


def test_a_run_has_a_file_of_its_own_that_holds_its_events(warm: WarmSqliteStorage) -> None:
    note(warm, RUN, "first")
    note(warm, RUN, "second")
    assert noted(warm, RUN) == ["first", "second"]
    assert warm.event_log_storage.get_all_run_ids() == [RUN]  # type: ignore[attr-defined]


def of_run(storage: DagsterSqliteStorage, run_id: str = RUN) -> list[str]:
    """The files of a run."""
    folder = Path(storage.base_dir) / "history" / "runs"
    return sorted(path.name for path in folder.iterdir() if run_id in path.name)


def test_a_run_that_is_released_is_one_file_and_can_be_read_and_written_again(warm: WarmSqliteStorage) -> None:
    note(warm, RUN, "first")
    assert of_run(warm) == [f"{RUN}.db", f"{RUN}.db-shm", f"{RUN}.db-wal"]
    warm.event_log_storage.release(RUN)  # type: ignore[attr-defined]
    assert of_run(warm) == [f"{RUN}.db"]
    warm.event_log_storage.release(RUN)  # type: ignore[attr-defined]
    note(warm, RUN, "second")
    assert noted(warm, RUN) == ["first", "second"]


def test_a_released_run_is_whole_without_its_log_though_others_have_it_open(warm: WarmSqliteStorage) -> None:
    other = WarmSqliteStorage.from_local(warm.base_dir)
    note(warm, RUN, "first")
    assert noted(other, RUN) == ["first"]
    warm.event_log_storage.release(RUN)  # type: ignore[attr-defined]
    file = Path(warm.base_dir) / "history" / "runs" / f"{RUN}.db"
    alone = file.with_name("alone.db")
    alone.write_bytes(file.read_bytes())
    with closing(sqlite3.connect(alone)) as connection:
        assert connection.execute("SELECT count(*) FROM event_logs").fetchone() == (1,)
    other.dispose()


def write_events(base: Path, name: str, count: int, begin: Any) -> None:
    storage = WarmSqliteStorage.from_local(str(base))
    begin.wait(60)
    for number in range(count):
        note(storage, RUN, f"{name} {number}")


def test_processes_that_begin_a_run_together_share_one_file(warm: WarmSqliteStorage) -> None:
    context = multiprocessing.get_context("spawn")
    begin, count = context.Event(), 20
    writers = [
        context.Process(target=write_events, args=(Path(warm.base_dir), name, count, begin)) for name in ("a", "b")
    ]
    for writer in writers:
        writer.start()
    begin.set()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert sorted(noted(warm, RUN)) == sorted(f"{name} {number}" for name in ("a", "b") for number in range(count))


def test_connections_are_kept_and_the_oldest_given_up(tmp_path: Path) -> None:
    engines = Engines(most=2)
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in "abc"]
    for url in urls:
        with engines.begin(url) as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 1, "NORMAL"
    assert list(engines._engines) == urls[1:]
    kept = engines._engine(urls[2])
    assert engines._engine(urls[2]) is kept
    engines.close()
    assert engines._engine(urls[2]) is not kept


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    engines, url = Engines(), f"sqlite:///{tmp_path}/a.db"
    with engines.begin(url) as connection:
        connection.execute(text("CREATE TABLE t (x)"))

    def insert_and_fail() -> None:
        with engines.begin(url) as connection:
            connection.execute(text("INSERT INTO t VALUES (1)"))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        insert_and_fail()
    with engines.begin(url) as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 0
    engines.close()


def test_a_forked_process_opens_connections_of_its_own(tmp_path: Path) -> None:
    engines, url = Engines(), f"sqlite:///{tmp_path}/a.db"
    parent = engines._engine(url)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, b"own" if engines._engine(url) is not parent else b"inherited")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 20) == b"own"
    for end in (reading, writing):
        os.close(end)
    engines.close()


def runs_folder(storage: DagsterSqliteStorage) -> Path:
    return Path(storage.base_dir) / "history" / "runs"


@pytest.mark.parametrize("open_already", [True, False])
@pytest.mark.parametrize("damage", [lambda _: b"not SQLite" * 900, lambda whole: whole[:9000]])
def test_a_file_that_is_no_database_is_set_aside_and_the_run_goes_on(
    tmp_path: Path, open_already: bool, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    storage = WarmSqliteStorage.from_local(str(tmp_path))
    note(storage, RUN, "lost")
    storage.event_log_storage.release(RUN)  # type: ignore[attr-defined]
    file = runs_folder(storage) / f"{RUN}.db"
    if open_already:
        assert noted(storage, RUN) == ["lost"]
    broken = damage(file.read_bytes())
    file.write_bytes(broken)
    with suppress(DatabaseError):  # what was begun with the broken file; no later call meets it
        note(storage, RUN, "first")
    note(storage, RUN, "second")
    assert noted(storage, RUN)[-1] == "second"
    (aside,) = (path for path in runs_folder(storage).glob(f".broken-{RUN}-*") if path.name[-1].isdigit())
    assert aside.read_bytes()[:100] == broken[:100]
    assert f"the events of run {RUN} cannot be read" in caplog.text
    assert storage.event_log_storage.get_all_run_ids() == [RUN]  # type: ignore[attr-defined]
    storage.dispose()


def test_the_index_is_never_set_aside(warm: WarmSqliteStorage) -> None:
    note(warm, RUN, "first")
    warm.dispose()
    index = runs_folder(warm) / "index.db"
    index.write_bytes(b"not SQLite" * 900)
    again = WarmSqliteStorage.from_local(warm.base_dir)
    with pytest.raises(DatabaseError, match="not a database"):
        again.event_log_storage.has_table("event_logs")  # type: ignore[attr-defined]
    again.dispose()
    assert index.read_bytes().startswith(b"not SQLite")


def test_a_file_that_was_wiped_by_another_is_begun_anew(warm: WarmSqliteStorage) -> None:
    note(warm, RUN, "first")
    other = DagsterSqliteStorage.from_local(warm.base_dir)
    other.event_log_storage.wipe()
    assert noted(warm, RUN) == []
    note(warm, RUN, "second")
    assert noted(other, RUN) == ["second"]


def test_a_run_that_is_deleted_has_no_events_and_can_be_written_again(warm: WarmSqliteStorage) -> None:
    note(warm, RUN, "first")
    warm.event_log_storage.delete_events(RUN)
    assert noted(warm, RUN) == []
    note(warm, RUN, "second")
    assert noted(warm, RUN) == ["second"]


def test_who_watches_a_run_hears_at_once_what_another_process_writes(warm: WarmSqliteStorage) -> None:
    note(warm, RUN, "first")
    heard: list[str] = []
    complete = threading.Event()

    def hear(entry: EventLogEntry, _cursor: str) -> None:
        heard.append(entry.user_message)
        if len(heard) == 4:
            complete.set()

    warm.event_log_storage.watch(RUN, None, hear)
    context = multiprocessing.get_context("spawn")
    begin, end = context.Event(), context.Event()
    writer = context.Process(target=write_and_stay, args=(Path(warm.base_dir), 3, begin, end))
    writer.start()
    try:
        assert begin.wait(60), "it has written"
        assert complete.wait(30), heard
        assert heard == ["first", "other 0", "other 1", "other 2"]
    finally:
        end.set()
        writer.join(60)


def write_and_stay(base: Path, count: int, written: Any, end: Any) -> None:
    """Write events and keep the file open, as a worker does."""
    storage = WarmSqliteStorage.from_local(str(base))
    for number in range(count):
        note(storage, RUN, f"other {number}")
    written.set()
    end.wait(60)


def test_copies_of_killed_processes_are_swept_once_they_are_old(warm: WarmSqliteStorage) -> None:
    note(warm, RUN, "first")
    folder = runs_folder(warm)
    left = [folder / f".{RUN}-{'0' * 32}", folder / f".{'1' * 32}-wal"]
    kept = [folder / f".broken-{RUN}-1", folder / ".db", folder / ".db-wal"]  # the last two: of what no run reported
    for path in (*left, *kept):
        path.touch()
    sweep_copies(Path(warm.base_dir), before=0)
    assert all(path.exists() for path in left)
    sweep_copies(Path(warm.base_dir), before=time.time() + 60)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    assert list(folder.glob(".empty-run-*"))
    assert noted(warm, RUN) == ["first"]


def test_a_worker_removes_what_was_never_finished(tmp_path: Path) -> None:
    waiting, runs = tmp_path / "celery" / "waiting", tmp_path / "dagster_home" / "history" / "runs"
    left, message = [waiting / ".1-a.celery.json", runs / f".{RUN}-{'0' * 32}"], waiting / "1-a.celery.json"
    clear(tmp_path, before=time.time())
    for path in (*left, message):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    clear(tmp_path, before=time.time() - 60)
    assert all(path.exists() for path in left)
    clear(tmp_path, before=time.time() + 60)
    assert [path.exists() for path in (*left, message)] == [False, False, True]


def test_a_full_disk_leaves_no_half_made_files(warm: WarmSqliteStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    note(warm, RUN, "there is a template now")

    def full(_source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("loosh_pipeline.workers.storage.shutil.copyfile", full)
    another = RUN.replace("1", "2")
    for _ in range(3):
        with pytest.raises(OSError, match="no space left"):
            note(warm, another, "lost")
    assert [path for path in Path(warm.base_dir).rglob(f"*{another}*")] == []
