"""Processes of one validator, told from everybody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loosh_pipeline.processes import family_of, processes_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_process_is_found_by_its_data_directory_as_long_as_it_lives(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", "print('up', flush=True); input()"]
    env = {**os.environ, "LOOSH_HOME": str(tmp_path)}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        (found,) = processes_of(tmp_path)
        assert (found.pid, found.parent) == (process.pid, os.getpid())
        assert found.command.split()[1:3] == ["-S", "-c"]
        assert list(processes_of(tmp_path / "another")) == []
        process.communicate(b"\n")
    assert list(processes_of(tmp_path)) == []


def test_by_whatever_path_it_was_started(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home")
    command = [sys.executable, "-S", "-c", "print('up', flush=True); input()"]
    for given in (str(tmp_path / "link"), "link"):
        env = {**os.environ, "LOOSH_HOME": given}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=env, cwd=tmp_path, stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            for home in (tmp_path / "home", tmp_path / "link"):
                assert [each.pid for each in processes_of(home)] == [process.pid]
            assert process.pid in family_of(os.getpid())
            process.communicate(b"\n")
