"""What keeps `loosh up` from starting, and what it tells of others once it runs."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

import pytest

from loosh_pipeline.doctor.at_start import LookAround, check_obstacles
from loosh_pipeline.errors import ServiceError
from loosh_pipeline.lock import validator_lock
from loosh_pipeline.settings import Settings
from loosh_pipeline.supervisor import free_ports


def on_free_ports(home: Path) -> Settings:
    names = ("api_port", "dagster_port", "code_server_port", "embedder_port")
    return Settings(loosh_home=home, **dict(zip(names, free_ports(4), strict=True)))


def test_a_port_that_is_taken_is_named_with_its_setting(tmp_path: Path) -> None:
    settings = on_free_ports(tmp_path)
    check_obstacles(settings)
    with (
        socket.create_server(("127.0.0.1", settings.dagster_port)),
        pytest.raises(ServiceError, match=rf"port {settings.dagster_port} \(DAGSTER_PORT\) is in use by .*; stop it"),
    ):
        check_obstacles(settings)


def test_a_place_that_cannot_be_written_too(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ServiceError, match=r"home \(LOOSH_HOME\) is no directory"):
        check_obstacles(on_free_ports(tmp_path / "home"))


def test_where_a_validator_runs_that_is_what_is_wrong(tmp_path: Path) -> None:
    settings = on_free_ports(tmp_path)
    with validator_lock(settings.home), socket.create_server(("127.0.0.1", settings.api_port)):
        check_obstacles(settings)


def finding(subject: str, verdict: str) -> dict[str, str]:
    return {"subject": subject, "verdict": verdict, "said": f"{subject} is odd", "todo": "do something"}


def test_what_is_wrong_elsewhere_is_told_and_the_rest_is_not() -> None:
    told = [
        finding("chain", "wrong"),
        finding("clock", "look"),
        finding("ports", "wrong"),
        finding("llm", "look"),
        finding("wallet", "ok"),
    ]
    said: list[str] = []
    print_it = ("-c", f"print({json.dumps(told)!r}); raise SystemExit(1)")
    around = LookAround(said.append, (sys.executable, *print_it))
    around.begin()
    around.wait()
    around.end()
    assert said == ["chain: chain is odd; do something", "llm: llm is odd; do something"]


def test_one_that_is_not_done_ends_with_the_validator() -> None:
    said: list[str] = []
    around = LookAround(said.append, (sys.executable, "-c", "import time; time.sleep(600)"))
    around.begin()
    started_s = time.monotonic()
    around.end()
    assert time.monotonic() - started_s < 10
    assert said == []
    LookAround(said.append).end()


def test_one_that_crashes_is_told_in_one_line() -> None:
    said: list[str] = []
    around = LookAround(said.append, (sys.executable, "-c", "raise SystemExit(1)"))
    around.begin()
    around.wait()
    assert said == ["`loosh doctor` failed, so that nothing is known of what is around; run it to see why"]
