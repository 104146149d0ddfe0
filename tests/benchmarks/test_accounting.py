"""Processor time by kind: that what is named exists, that inner time counts once, and that it outlives a process."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.accounting import FOLDER, KINDS, TARGETS, Counters, environment, functions_of, seconds_of

BUSY_S = 0.02


def busy(seconds: float = BUSY_S) -> None:
    until_s = time.process_time() + seconds
    while time.process_time() < until_s:
        pass


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_whatever_is_named_is_there(name: str) -> None:
    module = importlib.import_module(name)
    for pattern, kind in TARGETS[name].items():
        assert list(functions_of(module, pattern)), pattern
        assert kind in KINDS


def test_everything_is_what_a_module_itself_has_for_others() -> None:
    module = importlib.import_module("loosh_pipeline.store.inbox")
    found = {name for _, name, _ in functions_of(module, "*")}
    assert {"pause_s", "advance"} <= found
    assert not {"select", "open_database", "_inbox_row", "Inbox"} & found
    assert {"accept", "retry", "collected"} <= {name for _, name, _ in functions_of(module, "Inbox.*")}


@pytest.mark.parametrize("pattern", ["no_such", "NoSuch.name", "NoSuch.*", "BATCH_LIMIT"])
def test_a_name_that_is_gone_is_an_error(pattern: str) -> None:
    module = importlib.import_module("loosh_pipeline.delivery")
    with pytest.raises(AttributeError):
        list(functions_of(module, pattern))


def test_time_within_another_function_counts_for_the_inner_one(tmp_path: Path) -> None:
    counters = Counters(tmp_path)
    storage, scoring = KINDS.index("storage"), KINDS.index("scoring")
    busy()
    counters.enter(storage)
    busy()
    counters.enter(scoring)
    busy(2 * BUSY_S)
    counters.leave()
    busy()
    counters.leave()
    busy()
    found = seconds_of(tmp_path)[os.getpid()]
    assert found["storage"] == pytest.approx(2 * BUSY_S, rel=0.3)
    assert found["scoring"] == pytest.approx(2 * BUSY_S, rel=0.3)
    assert sum(found.values()) == found["storage"] + found["scoring"]


PROGRAM = """
import os, signal
from sqlalchemy import create_engine
from loosh_pipeline.store.inbox import Inbox

def ask(times):
    for _ in range(times):
        try:
            Inbox(create_engine("sqlite://")).stats()
        except Exception as error:
            assert "no such table" in str(error), error

ask(1)
if (child := os.fork()) == 0:
    ask(20)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
print(os.getpid(), child)
"""


def test_a_process_and_its_forked_child_count_apart_and_however_they_end(tmp_path: Path) -> None:
    env = {**os.environ, **environment(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    parent, child = map(int, ran.stdout.split())
    found = seconds_of(tmp_path)
    assert found.keys() == {parent, child}
    for each in (parent, child):
        assert found[each]["storage"] > 0.0
        assert sum(found[each].values()) == found[each]["storage"]


def test_the_path_of_whoever_measures_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    told = environment(tmp_path)
    hook, root, *rest = told["PYTHONPATH"].split(os.pathsep)
    assert (Path(hook) / "sitecustomize.py").exists()
    assert (Path(root) / "benchmarks").is_dir()
    assert (rest, told[FOLDER]) == (["/somewhere"], str(tmp_path))
