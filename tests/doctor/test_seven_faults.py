"""The faults that an operator is to be told of by name, each struck for real on a subnet on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from loosh_pipeline.chain.wallet import create_wallet
from loosh_pipeline.devnet.subnet import DevnetInfo
from loosh_pipeline.supervisor import free_ports
from tests.doctor.conftest import Doctor, by_subject, wrong
from tests.faketime import faked
from tests.faults.filesystems import CannotMount, fill, small_disk


def test_without_a_fault_nothing_is_wrong_and_nothing_to_look_at(doctor: Doctor, own_home: Path) -> None:
    code, told = doctor()
    not_fine = {subject: found for subject, found in told.items() if any(each["verdict"] != "ok" for each in found)}
    not_fine.pop("disk", None)  # the machine's own, as are the next two
    not_fine.pop("processor", None)
    not_fine.pop("memory", None)
    assert not_fine == {}
    assert code == 0
    assert not own_home.exists(), "looking changes nothing"


class TestWrongWallet:
    def test_a_hotkey_that_is_not_there(self, doctor: Doctor) -> None:
        code, told = doctor(HOTKEY_NAME="another")
        assert (code, wrong(told)) == (1, ["wallet"])
        (found,) = told["wallet"]
        assert "there is no hotkey file" in found["said"]
        assert "hotkeys/another" in found["said"]
        assert "`loosh wallet new`" in found["todo"]
        assert told["registration"][0]["said"] == "not known without a hotkey"

    def test_a_hotkey_that_is_not_registered(self, doctor: Doctor, tmp_path: Path) -> None:
        made = create_wallet(tmp_path / "wallets", "validator", "validator")
        code, told = doctor(WALLET_PATH=str(tmp_path / "wallets"))
        assert (code, wrong(told)) == (1, ["registration", "challenge API"])
        (found,) = told["registration"]
        assert f"{made.hotkey} is not registered on subnet 78" in found["said"]
        assert "check WALLET_NAME, HOTKEY_NAME and NETUID" in found["todo"]
        assert "does not list this hotkey" in told["challenge API"][0]["said"]

    def test_a_file_that_holds_no_key(self, doctor: Doctor, tmp_path: Path) -> None:
        file = tmp_path / "wallets/validator/hotkeys/validator"
        file.parent.mkdir(parents=True)
        file.write_text("no key")
        code, told = doctor(WALLET_PATH=str(tmp_path / "wallets"))
        assert (code, wrong(told)) == (1, ["wallet"])
        assert "holds no usable private hotkey" in told["wallet"][0]["said"]


class TestDeadChain:
    def test_nobody_listens(self, doctor: Doctor) -> None:
        (port,) = free_ports(1)
        code, told = doctor(SUBTENSOR_ADDRESS=f"ws://127.0.0.1:{port}")
        assert (code, wrong(told)) == (1, ["chain"])
        (found,) = told["chain"]
        assert f"ws://127.0.0.1:{port} (SUBTENSOR_ADDRESS)" in found["said"]
        assert "Connection refused" in found["said"]
        assert "set SUBTENSOR_ADDRESS to one that runs" in found["todo"]
        assert told["registration"][0]["said"].startswith("not known: no endpoint")

    def test_a_node_that_says_nothing_holds_nobody_up(self, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("loosh_pipeline.doctor.diagnosing.CHAIN_WITHIN_S", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            code, told = doctor(SUBTENSOR_ADDRESS=f"ws://127.0.0.1:{silent.getsockname()[1]}")
        assert (code, wrong(told)) == (1, ["chain"])
        assert "did not answer within 0.3 s" in told["chain"][0]["said"]

    def test_a_fallback_that_serves_is_enough(self, doctor: Doctor, subnet: DevnetInfo) -> None:
        (port,) = free_ports(1)
        code, told = doctor(SUBTENSOR_ADDRESS=f"ws://127.0.0.1:{port}", SUBTENSOR_FALLBACKS=subnet.chain_url)
        assert (code, [each["verdict"] for each in told["chain"]]) == (0, ["look", "ok"])
        assert told["registration"][0]["said"] == "uid 0 on subnet 78"


def test_full_disk(doctor: Doctor, tmp_path: Path) -> None:
    home = tmp_path / "small"
    try:
        with small_disk(home, 1):
            fill(home)
            code, told = doctor(LOOSH_HOME=str(home))
    except CannotMount as error:
        pytest.skip(str(error))
    assert (code, wrong(told)) == (1, ["disk"])
    (found,) = (each for each in told["disk"] if each["verdict"] == "wrong")
    assert f"{home} (LOOSH_HOME" in found["said"]
    assert "is full" in found["said"]
    assert "free space there" in found["todo"]


def test_no_llm(doctor: Doctor) -> None:
    """Its narratives are composed without it, so that nothing is wrong, and somebody should look."""
    (port,) = free_ports(1)
    code, told = doctor(LLM_API_URL=f"http://127.0.0.1:{port}/v1", LLM_MODEL="some-model", LLM_TIMEOUT_S="1")
    (found,) = told["llm"]
    assert (code, found["verdict"]) == (0, "look")
    assert f"model 'some-model' at http://127.0.0.1:{port}" in found["said"]
    assert "cannot be reached" in found["said"]
    assert "LLM_API_URL" in found["todo"]


class TestWrongChallengeApi:
    def test_nobody_listens(self, doctor: Doctor) -> None:
        (port,) = free_ports(1)
        code, told = doctor(CHALLENGE_API_URL=f"http://127.0.0.1:{port}")
        assert (code, wrong(told)) == (1, ["challenge API"])
        (found,) = told["challenge API"]
        assert f"http://127.0.0.1:{port} (CHALLENGE_API_URL) cannot be reached" in found["said"]
        assert "results wait in the outbox" in found["todo"]

    def test_something_else_answers(self, doctor: Doctor, subnet: DevnetInfo) -> None:
        page = subnet.chain_url.replace("ws://", "http://")
        code, told = doctor(CHALLENGE_API_URL=page)
        assert (code, wrong(told)) == (1, ["challenge API"])
        (found,) = told["challenge API"]
        assert "is no Challenge API: GET /fiber/public-key was answered with HTTP 404" in found["said"]
        assert "set CHALLENGE_API_URL to the API's base URL" in found["todo"]

    def test_the_validators_own_ingress(self, doctor: Doctor, environment: dict[str, str]) -> None:
        code, told = doctor(CHALLENGE_API_URL=f"http://localhost:{environment['API_PORT']}")
        assert (code, wrong(told)) == (1, ["challenge API"])
        assert "is this validator's own ingress" in told["challenge API"][0]["said"]


@pytest.mark.parametrize("setting", ["API_PORT", "DAGSTER_PORT", "CODE_SERVER_PORT", "EMBEDDER_PORT"])
def test_port_in_use(doctor: Doctor, environment: dict[str, str], setting: str) -> None:
    with socket.create_server(("127.0.0.1", int(environment[setting]))):
        code, told = doctor()
    assert (code, wrong(told)) == (1, ["ports"])
    (found,) = (each for each in told["ports"] if each["verdict"] == "wrong")
    assert f"port {environment[setting]} ({setting}) is in use by" in found["said"]
    assert f"(pid {os.getpid()})" in found["said"]
    assert found["todo"] == f"stop it, or set {setting} to a free port"


def test_clock_off_by_an_hour(environment: dict[str, str], tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+3600")
    env = {**os.environ, **environment, **faked(offset)}
    command = [sys.executable, "-m", "loosh_pipeline.cli", "doctor", "--json"]
    ended = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    told = by_subject(ended.stdout)
    assert ended.returncode == 1
    assert "clock" in wrong(told)
    (found,) = told["clock"]
    seconds = int(found["said"].split("clock is ")[1].split(" s ")[0].replace(",", ""))
    assert abs(seconds - 3600) < 20
    assert " s ahead by the Challenge API's and the newest block" in found["said"]
    assert "set it by NTP" in found["todo"]
    assert told["chain"][0]["todo"] == "set the clock right first"
    assert "set the clock right first" in told["challenge API"][0]["todo"]
