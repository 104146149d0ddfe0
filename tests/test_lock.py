from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loosh_pipeline import lock
from loosh_pipeline.errors import ServiceError
from loosh_pipeline.lock import SUPERVISED, held_by, only_looking, runs_in, validator_lock

HOLD = """
import sys, time
from pathlib import Path
from loosh_pipeline.lock import validator_lock
with validator_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


HOLD_AND_PASS_ON = """
import subprocess, sys, time
from pathlib import Path
from loosh_pipeline.lock import validator_lock
with validator_lock(Path(sys.argv[1])) as held:
    wait = "import sys; sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", wait], stdin=0, stdout=subprocess.DEVNULL, pass_fds=[held])
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_validator_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SUPERVISED, raising=False)
    assert only_looking(tmp_path) is None, "nobody runs here"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ServiceError, match="runs in"), validator_lock(tmp_path):
            pass
        assert str(tmp_path) in (only_looking(tmp_path) or "")
        monkeypatch.setenv(SUPERVISED, "1")
        assert only_looking(tmp_path) is None, "its own processes work on"
        monkeypatch.delenv(SUPERVISED)
        other.kill()
    assert only_looking(tmp_path) is None, "the lock ended with its process"
    with validator_lock(tmp_path):
        pass


def test_a_killed_validator_is_waited_for_until_its_processes_have_ended(tmp_path: Path) -> None:
    """`loosh up` is killed; a process that it had started lives on for a while, and keeps the directory."""
    reading, writing = os.pipe()
    command = [sys.executable, "-c", HOLD_AND_PASS_ON, str(tmp_path)]
    with subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(ServiceError, match="runs in"), validator_lock(tmp_path):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
    os.close(reading)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        os.close(writing)  # upon which the process that was left behind ends

    with validator_lock(tmp_path, say):
        assert (tmp_path / "validator.lock").read_text() == str(os.getpid())
    assert said == [
        f"a validator (process {first.pid}) was killed in {tmp_path}; waiting until its processes have ended"
    ]


def test_those_that_do_not_end_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loosh_pipeline.lock.ENDED_WITHIN_S", 0.2)
    reading, writing = os.pipe()
    command = [sys.executable, "-c", HOLD_AND_PASS_ON, str(tmp_path)]
    with subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        first.stdout.readline()
        first.kill()
        first.wait()
    with (
        pytest.raises(ServiceError, match=r"processes of a validator that was killed \(process \d+\) still run"),
        validator_lock(tmp_path),
    ):
        pass
    os.close(reading)
    os.close(writing)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = r"the data directory .*/file/home cannot be written: Not a directory"
    with pytest.raises(ServiceError, match=said), validator_lock(tmp_path / "file" / "home"):
        pass


STOP_WHEN_ASKED = """
import sys
from pathlib import Path
from loosh_pipeline.lock import note_stopping, validator_lock
with validator_lock(Path(sys.argv[1])) as held:
    print("held", flush=True)
    sys.stdin.readline()
    note_stopping(held)
    print("stopping", flush=True)
    sys.stdin.readline()
"""


def test_one_that_is_stopping_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process manager may start the next one before the last has ended; until it stops, who it is is told."""
    monkeypatch.setattr("loosh_pipeline.lock.TRY_FOR_S", 0.0)
    pipe, said = subprocess.PIPE, []
    command = [sys.executable, "-c", STOP_WHEN_ASKED, str(tmp_path)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        assert held_by(tmp_path) == other.pid
        runs = rf"a validator \(process {other.pid}\) runs in {tmp_path} already; stop it"
        with pytest.raises(ServiceError, match=runs), validator_lock(tmp_path):
            pass
        print(file=other.stdin, flush=True)
        assert other.stdout.readline() == "stopping\n"

        def say(text: str) -> None:
            said.append(text)
            print(file=other.stdin, flush=True)

        with validator_lock(tmp_path, say):
            assert held_by(tmp_path) == os.getpid()
    assert said == [
        f"a validator (process {other.pid}) is stopping in {tmp_path}; waiting until its processes have ended"
    ]
    assert held_by(tmp_path) is None


def test_stopping_takes_less_than_is_waited() -> None:
    assert lock.STOPPED_WITHIN_S >= 35


def test_a_lock_that_cannot_be_one_is_held_by_nobody(tmp_path: Path) -> None:
    (tmp_path / "validator.lock").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for home in (tmp_path, tmp_path / "loop"):
        assert not runs_in(home)
        assert held_by(home) is None
        with pytest.raises(ServiceError, match="cannot be written"), validator_lock(home):
            pass
