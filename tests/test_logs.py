"""Logging of whole processes: ours, forked ones, and programs of others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.lock import PROCESS
from loosh_pipeline.supervisor import free_ports

LINE = {"time", "level", "process", "logger", "message"}
CONFIGURED = "from loosh_pipeline.logs import configure; from loosh_pipeline.settings import get_settings\n" + (
    "configure(get_settings(), 'test')\nimport logging, os, sys, threading, warnings\n"
)


def ran(*arguments: str, code: int = 0, **env: str) -> str:
    """What a process says on standard error."""
    environment = {**os.environ, "LOG_FORMAT": "json", "PYTHONWARNINGS": "default", **env}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr


def lines(said: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in said.splitlines()]
    assert all(set(line) >= LINE for line in found)
    return found


def test_warnings_threads_and_the_end_of_a_process_are_lines_too() -> None:
    body = """
logging.getLogger("httpx").info("a request")
logging.getLogger("ours").info("hello %s", os.environ["LLM_API_KEY"])
warnings.warn("old", DeprecationWarning)
thread = threading.Thread(target=lambda: 1 / 0, name="t"); thread.start(); thread.join()
raise RuntimeError("the end")
"""
    said = lines(ran("-c", CONFIGURED + body, code=1, LLM_API_KEY="canary-llm", **{PROCESS: "embedder"}))
    assert [line["message"].splitlines()[0][:20] for line in said] == [
        "hello [secret]",
        "<string>:7: Deprecat",
        "the thread t ends by",
        "the process ends by ",
    ]
    assert "ZeroDivisionError" in said[2]["error"]
    assert "RuntimeError: the end" in said[3]["error"]
    assert {line["process"] for line in said} == {"embedder"}


def test_long_lines_of_forked_processes_do_not_mix() -> None:
    body = """
for number in range(4):
    if os.fork() == 0:
        for _ in range(20):
            logging.getLogger("x").info(str(number) * 7000)
        os._exit(0)
for _ in range(4): os.wait()
"""
    said = lines(ran("-c", CONFIGURED + body))
    assert len(said) == 80
    assert all(len(set(line["message"].partition("…")[0])) == 1 for line in said)


def test_a_disk_without_room_for_a_temporary_file_keeps_nobody_from_logging() -> None:
    body = """
import tempfile
def full(): raise FileNotFoundError("no usable temporary directory")
tempfile.gettempdir = full
"""
    assert [line["message"] for line in lines(ran("-c", body + CONFIGURED + "logging.warning('said')"))] == ["said"]


def test_where_no_file_in_memory_is_to_be_had_threads_log_all_the_same() -> None:
    body = "import os; del os.memfd_create\n" + CONFIGURED + "logging.warning('said')"
    assert [line["message"] for line in lines(ran("-c", body))] == ["said"]


def test_a_level_below_log_level_is_not_said() -> None:
    body = "logging.getLogger('x').info('no'); logging.getLogger('x').warning('yes')"
    assert [line["message"] for line in lines(ran("-c", CONFIGURED + body, LOG_LEVEL="warning"))] == ["yes"]


def test_text_has_no_colour() -> None:
    said = ran("-c", CONFIGURED + "logging.getLogger('x').error('red')", LOG_FORMAT="text")
    assert said.isascii()
    assert "\x1b" not in said
    assert said.endswith(" ERROR x: red\n")


def test_dagsters_programs_and_uvicorn_under_them_log_as_we_do(tmp_path: Path) -> None:
    """As the web server and the daemon set logging up, and as a run and a sensor log."""
    program = tmp_path / "theirs.py"
    program.write_text(
        "import logging, sys, uvicorn\n"
        "from dagster._utils.log import configure_loggers, create_console_logger\n"
        "configure_loggers(formatter='colored', log_level='INFO')\n"
        "uvicorn.Config(None, log_level='info')\n"
        "logging.getLogger('dagster.daemon.SensorDaemon').info('tick')\n"
        "logging.getLogger('uvicorn.error').info('served')\n"
        "create_console_logger('dagster', 'INFO').info('in a run')\n"
        "logging.getLogger('dagster-webserver').warning(sys.argv[1])\n"
    )
    said = lines(ran("-m", "loosh_pipeline.logged", "-m", "theirs", "argument", PYTHONPATH=_with(tmp_path)))
    assert [line["message"] for line in said] == ["tick", "served", "in a run", "argument"]


def test_a_program_that_is_not_named_is_asked_for() -> None:
    assert "usage" in ran("-m", "loosh_pipeline.logged", "theirs", code=2)


def test_a_program_that_is_not_there_is_a_line(tmp_path: Path) -> None:
    (line,) = lines(ran("-m", "loosh_pipeline.logged", "-m", "nosuchmodule", code=1))
    assert "No module named nosuchmodule" in line["error"]


def _with(directory: Path) -> str:
    return os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_nothing_of_dagsters_has_set_logging_up_before() -> None:
    """Importing our definitions or Dagster must not bind the function that is replaced in a way that is missed."""
    code = (
        "from loosh_pipeline.logged import leave_logging_alone, _nothing; leave_logging_alone()\n"
        "import importlib, sys\n"
        "for name in ('dagster._daemon.controller', 'dagster_webserver.cli', 'dagster._cli.api'):\n"
        "    assert importlib.import_module(name).configure_loggers is _nothing, name\n"
    )
    ran("-c", code)


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (
            ["-m", "loosh_pipeline.workers"],
            {"CELERY_BROKER_URL": "redis://user:canary-broker-password@127.0.0.1:1/0"},
            "Cannot connect to redis://",
        ),
        (
            ["-m", "ingress"],
            {"DATABASE_URL": "postgresql://loosh:canary-database-password@127.0.0.1:1/loosh?sslkey=canary-query-key"},
            "StoreError: cannot open the inbox database",
        ),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_without_its_password(
    tmp_path: Path, arguments: list[str], env: dict[str, str], said: str
) -> None:
    """As it is said for hours, by libraries that know the whole address."""
    (port,) = free_ports(1)
    environment = {**os.environ, "LOG_FORMAT": "json", "API_PORT": str(port), **env}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        cwd=tmp_path,
    )
    assert process.stderr is not None
    heard = []
    try:
        for line in process.stderr:
            heard.append(line)
            if said in line:
                break
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        heard += process.communicate()[1].splitlines()
    assert any(said in line for line in heard)
    assert [line for line in heard if "canary" in line] == []
