"""Names that cannot be resolved: said once, whose fault it is, and soon."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from loosh_pipeline.doctor import names
from loosh_pipeline.doctor.checkup import Check
from loosh_pipeline.doctor.finding import ok
from loosh_pipeline.doctor.names import Names, host_of, llm_url
from loosh_pipeline.settings import Settings
from tests.doctor.conftest import Doctor, by_subject, only, wrong

CHAIN, API, LLM = "wss://chain.example:443", "https://api.example", "http://llm.example/v1"
GONE = {"SUBTENSOR_ADDRESS": CHAIN, "CHALLENGE_API_URL": API, "LLM_API_URL": LLM, "LLM_MODEL": "m"}


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A resolver that says nothing until the test is over."""
    release = threading.Event()
    monkeypatch.setattr(names, "_resolve", lambda _host: release.wait(60))
    monkeypatch.setattr(names, "WITHIN_S", 0.3)
    yield
    release.set()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (CHAIN, "chain.example"),
        ("ws://127.0.0.1:9944", None),
        ("http://[::1]:8000", None),
        ("http://localhost:1", None),
        ("unix:///run/embedder", None),
        ("http://[", None),
    ],
)
def test_what_has_to_be_resolved(url: str, host: str | None) -> None:
    assert host_of(url) == host


@pytest.mark.usefixtures("hanging")
def test_a_dead_resolver_is_one_thing_and_nobody_waits_for_it(doctor: Doctor) -> None:
    begun_s = time.monotonic()
    code, told = doctor(**GONE)
    assert time.monotonic() - begun_s < 10
    assert (code, wrong(told)) == (1, ["names", "chain", "challenge API"])
    (found,) = told["names"]
    assert found["said"].startswith("names cannot be resolved: ")
    assert found["todo"] == "check the resolver (/etc/resolv.conf)"
    (chain,) = told["chain"]
    assert "check the resolver" in chain["todo"]
    assert "start the node" not in chain["todo"]
    assert "check the resolver" in told["challenge API"][0]["todo"]
    assert (told["llm"][0]["verdict"], "its name cannot be resolved" in told["llm"][0]["said"]) == ("look", True)


def refused(number: int) -> names.Resolve:
    def resolve(host: str) -> object:
        if host == "api.example":
            raise socket.gaierror(number, "refused")
        return []

    return resolve


def test_where_others_can_be_resolved_it_is_the_name() -> None:
    found = only(Names({"CHALLENGE_API_URL": [API], "LLM_API_URL": [LLM]}, refused(socket.EAI_NONAME)).found())
    said = "api.example (CHALLENGE_API_URL): there is no such name (refused)"
    assert (found.verdict, found.said) == ("look", said)


def test_a_resolver_that_says_that_it_cannot() -> None:
    found = only(Names({"CHALLENGE_API_URL": [API]}, refused(socket.EAI_AGAIN)).found())
    assert (found.verdict, found.said) == (
        "wrong",
        "names cannot be resolved: api.example (its name cannot be resolved (refused))",
    )


def test_without_a_url_of_its_own_an_llm_is_openais(settings: Settings) -> None:
    assert llm_url(settings) is None
    keyed = settings.model_copy(update={"llm_model": "m", "llm_api_key": SecretStr("k")})
    assert host_of(str(llm_url(keyed))) == "api.openai.com"
    assert llm_url(keyed.model_copy(update={"enable_narrative_generation": False})) is None


def test_what_asks_where_the_name_has_an_address_asks() -> None:
    fine = Names({"LLM_API_URL": [LLM]}, refused(socket.EAI_AGAIN))
    assert list(fine.first(LLM, Check("llm", lambda: [ok("llm", "answers")])).look()) == [ok("llm", "answers")]
    assert only(fine.found()) == ok("names", "llm.example resolved")
    assert only(Names({}).found()).verdict == "ok"


HANGS = """
import socket, sys, time
asked = socket.getaddrinfo
def hang(host, *rest, **named):
    if str(host).endswith(".example"):
        time.sleep(60)
    return asked(host, *rest, **named)
socket.getaddrinfo = hang
from loosh_pipeline.doctor import names
names.WITHIN_S = 0.3
names._resolve = lambda host: []  # the first time all is well; later each hangs
from loosh_pipeline.doctor import diagnosing, models
diagnosing.API_WITHIN_S = diagnosing.CHAIN_WITHIN_S = 0.3
models.LLM_WITHIN_S = 0.3
diagnosing.examined.__defaults__ = (3.0,)
sys.argv = ["loosh", "doctor", "--json"]
from loosh_pipeline.cli import app
app()
"""


def test_a_name_that_hangs_later_keeps_nobody_from_ending(environment: dict[str, str], tmp_path: Path) -> None:
    begun_s = time.monotonic()
    env = {**os.environ, **environment, **GONE}
    command = [sys.executable, "-c", HANGS]
    ended = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, wrong(by_subject(ended.stdout))) == (1, ["chain", "challenge API"])
    assert time.monotonic() - begun_s < 30
