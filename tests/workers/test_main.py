"""How a worker process is started, and what it does about a run that never ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import billiard
import pytest
import yaml

from loosh_pipeline.services import write_instance
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.__main__ import arguments, fork, tidy
from loosh_pipeline.workers.config import (
    EVALUATIONS,
    OVERDUE_S,
    SPARE_CHILDREN,
    UPKEEP,
    UPKEEP_CHILDREN,
    configuration,
    folder,
    longest_run_s,
    marks,
)

SOON_S = 30.0


@pytest.mark.parametrize(("queue", "count"), [(EVALUATIONS, 7 + SPARE_CHILDREN), (UPKEEP, UPKEEP_CHILDREN)])
def test_each_queue_has_children_of_its_own(queue: str, count: int) -> None:
    told = arguments(Settings(max_concurrent_runs=7), queue)
    assert {f"--queues={queue}", f"--concurrency={count}"} <= set(told)
    assert told[0] == "--quiet", "no banner, which is no line of a log"


def test_children_are_forked_everywhere() -> None:
    before = billiard.get_start_method()
    billiard.set_start_method("spawn", force=True)  # the default on macOS
    try:
        fork()
        assert billiard.get_start_method() == "fork"
    finally:
        billiard.set_start_method(before, force=True)


def test_a_worker_takes_up_what_its_predecessor_left_and_no_other(settings: Settings) -> None:
    claimed, waiting = (folder(settings) / name for name in ("claimed", "waiting"))
    for each in (claimed, waiting, marks(folder(settings), UPKEEP)):
        each.mkdir(parents=True)
    for queue in (EVALUATIONS, UPKEEP):
        (claimed / f"1-a.{queue}.json").write_text("{}")
    dead = marks(folder(settings), UPKEEP) / "run"
    dead.write_text("999999")
    tidy(settings, UPKEEP)
    assert os.listdir(waiting) == [f"1-a.{UPKEEP}.json"]
    assert os.listdir(claimed) == [f"1-a.{EVALUATIONS}.json"]
    assert dead.exists(), "run monitoring has yet to see that its process died"


def test_a_process_is_killed_after_dagster_has_given_its_run_up(own_home: Path, settings: Settings) -> None:
    write_instance(own_home, settings)
    monitoring = yaml.safe_load((own_home / "dagster.yaml").read_text())["run_monitoring"]
    assert monitoring["max_runtime_seconds"] == longest_run_s(settings)
    assert configuration(settings)["task_time_limit"] == longest_run_s(settings) + OVERDUE_S


WORKER = """
import os, signal, sys, time
from pathlib import Path

from celery import Celery

import loosh_pipeline.workers.transport
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.__main__ import end_within
from loosh_pipeline.workers.config import configuration

app = Celery("test", broker="loosh-files://", config_source={**configuration(Settings()), "task_time_limit": 1})

@app.task(name="hang")
def hang(_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)

@app.task(name="say")
def say(path):
    Path(path).write_text(str(os.getpid()))

@app.task(name="say and hang")
def say_and_hang(path):
    Path(path).write_text(str(os.getpid()))
    hang(path)

app.conf.task_time_limit = float(os.environ.get("LIMIT_S", "1"))
end_within(1.0)
for task in sys.argv[3:]:
    app.tasks[task].apply_async((sys.argv[2],), queue="test")
if sys.argv[1] != "0":
    app.worker_main(["worker", "--queues=test", f"--concurrency={sys.argv[1]}", "--without-gossip", "--without-mingle"])
"""


def worker(children: int, said: Path, *tasks: str) -> subprocess.Popen[str]:
    """A worker over files, after tasks were handed over; with no children, only these are."""
    command = [sys.executable, "-c", WORKER, str(children), str(said), *tasks]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def said_within(said: Path, process: subprocess.Popen[str]) -> str:
    """Wait for what a task writes; the worker's output when it ends or nothing comes."""
    until_s = time.monotonic() + SOON_S
    while not (said.exists() and said.read_text()) and process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.05)
    if said.exists():
        return said.read_text()
    process.kill()
    raise AssertionError(process.communicate(timeout=SOON_S)[0])


def test_a_run_that_never_ends_costs_no_process(own_home: Path, tmp_path: Path) -> None:
    with worker(1, tmp_path / "said", "hang", "say") as process:
        said_within(tmp_path / "said", process)
        process.kill()
        output, _ = process.communicate(timeout=SOON_S)
    assert "Hard time limit (1.0s) exceeded" in output


@pytest.mark.skipif(sys.platform != "linux", reason="finds children through /proc")
def test_whichever_process_is_killed_while_it_waits_the_others_go_on(own_home: Path, tmp_path: Path) -> None:
    with worker(3, tmp_path / "first", "say") as process:
        said_within(tmp_path / "first", process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 3
        for number, child in enumerate(children):
            os.kill(int(child), signal.SIGKILL)
            said = tmp_path / f"after-{number}"
            worker(0, said, "say").communicate(timeout=SOON_S)
            assert said_within(said, process) not in children[: number + 1]
        process.kill()
        process.communicate(timeout=SOON_S)


def test_a_worker_that_is_told_to_stop_waits_for_no_run_for_ever(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT_S", "600")
    with worker(1, tmp_path / "said", "say and hang") as process:
        child = int(said_within(tmp_path / "said", process))
        process.terminate()
        assert process.wait(SOON_S / 2) == -signal.SIGKILL
        process.communicate(timeout=SOON_S)
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z", (
        "dead, though nobody asked after it"
    )
