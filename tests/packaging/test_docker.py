"""What goes into an image, and how a container is told healthy. An image cannot be built wherever tests run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingress.health import STOPPED

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


def test_only_what_is_named_goes_into_the_context() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert lines[0] == "*", "everything else stays out: .env, wallets, data, .git"
    taken = [line[1:] for line in lines if line.startswith("!")]
    assert all((ROOT / each).exists() for each in taken)
    for secret in (".env", ".loosh", ".git", "wallets", "logs", ".venv", "tests"):
        assert not any(fnmatch(secret, each) for each in taken)


def test_everything_that_is_copied_is_in_the_context() -> None:
    taken = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    dockerfile = (DOCKER / "Dockerfile").read_text("utf-8")
    copied = [each for line in re.findall(r"^COPY (?!--from)(.*)", dockerfile, re.M) for each in line.split()[:-1]]
    assert set(copied) - {"."} <= set(taken)


def test_the_image_runs_as_nobody_special_and_waits_for_its_end() -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text("utf-8")
    assert re.findall(r"^USER (.*)", dockerfile, re.M) == ["${DOCKER_UID}:${DOCKER_GID}"]
    assert 'ENTRYPOINT ["tini", "--", "loosh"]' in dockerfile, "signals reach `loosh up`, not a shell"
    assert "-c constraints.txt" in dockerfile


def test_services_beside_the_validator_are_asked_for_and_listen_on_loopback_only() -> None:
    services = compose()["services"]
    validator = services["validator"]
    assert "profiles" not in validator
    assert all(each["profiles"] for name, each in services.items() if name != "validator")
    assert int(validator["stop_grace_period"].removesuffix("s")) > 30
    for name, each in services.items():
        if name != "validator":
            assert "127.0.0.1" in str(each.get("command", "")) + str(each.get("environment", ""))


def test_paths_of_the_settings_are_the_hosts_and_those_of_the_container_win() -> None:
    """What stands in `environment` wins over `env_file`, which names both, as env.example does."""
    validator = compose()["services"]["validator"]
    assert validator["env_file"] == ["../.env"]
    assert validator["environment"] == {"LOOSH_HOME": "/data/loosh", "WALLET_PATH": "/wallets"}
    targets = {each["target"]: each for each in validator["volumes"] if isinstance(each, dict)}
    assert validator["environment"]["WALLET_PATH"] in targets


def test_a_relative_directory_of_wallets_is_a_directory_and_no_volume_of_that_name() -> None:
    (wallets,) = [each for each in compose()["services"]["validator"]["volumes"] if "wallets" in str(each)]
    assert wallets == {
        "type": "bind",
        "source": "${WALLET_PATH:-~/.bittensor/wallets}",
        "target": "/wallets",
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / name).read_text("utf-8")))


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (200, b'{"status": "healthy"}', 0, ""),
        (200, b'{"status": "unhealthy", "reason": "the disk is full"}', 1, "the disk is full"),
        (200, json.dumps({"status": "unhealthy", "reasons": [STOPPED]}).encode(), 0, ""),
        (200, json.dumps({"status": "unhealthy", "reasons": [STOPPED, "no chain"]}).encode(), 1, "no chain"),
        (503, b"", 1, "503"),
        (200, b"no json", 1, "Expecting value"),
    ],
)
def test_a_container_is_as_healthy_as_its_validator_says(status: int, body: bytes, code: int, said: str) -> None:
    with answering(status, body) as port:
        ended = check(API_HOST="0.0.0.0", API_PORT=str(port), http_proxy="http://127.0.0.1:9")
    assert (ended.returncode, said in ended.stderr) == (code, True), ended.stderr


def test_the_port_is_read_where_the_validator_reads_it(tmp_path: Path) -> None:
    with answering(200, b'{"status": "healthy"}') as port:
        (tmp_path / ".env").write_text(f"API_HOST=127.0.0.1\nAPI_PORT={port}\n")
        assert check(tmp_path).returncode == 0
        assert check(tmp_path, API_PORT="1").returncode == 1, "the environment wins"


def shell_of(dockerfile: str, beginning: str) -> str:
    """The command of a RUN line."""
    (found,) = re.findall(rf"^RUN ((?={beginning})(?:.*\\\n)*.*)", dockerfile, re.M)
    return str(found)


@pytest.mark.parametrize(
    ("env", "code", "said"),
    [
        ({"COMPUTE": "any"}, 0, ""),
        ({"COMPUTE": "cpu"}, 1, "COMPUTE=cpu needs TORCH_CPU_INDEX"),
        ({"COMPUTE": "cpu", "TORCH_CPU_INDEX": "i"}, 127, "/opt/venv-of-nowhere/bin/pip"),
        ({"COMPUTE": "cuda"}, 1, "COMPUTE=cuda: any or cpu"),
    ],
)
def test_an_image_is_what_it_is_called(env: dict[str, str], code: int, said: str) -> None:
    """Where there is no pip, only the one that is installed with it is missed."""
    dockerfile = (DOCKER / "Dockerfile").read_text("utf-8").replace("/opt/venv", "/opt/venv-of-nowhere")
    assert re.findall(r"^ARG COMPUTE=(.*)", dockerfile, re.M) == ["any"]
    command = ["bash", "-c", shell_of(dockerfile, "case")]
    ended = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, said in ended.stderr) == (code, True), ended.stderr


def test_compose_builds_the_image_that_works_everywhere_unless_told() -> None:
    assert compose()["services"]["validator"]["build"]["args"]["COMPUTE"] == "${COMPOSE_COMPUTE:-any}"
    assert compose("compose.gpu.yaml")["services"]["validator"]["build"]["args"] == {"COMPUTE": "any"}


def test_groups_and_users_of_the_base_image_may_be_meant() -> None:
    command = shell_of((DOCKER / "Dockerfile").read_text("utf-8"), "groupadd")
    assert re.findall(r"(groupadd|useradd) --non-unique", command) == ["groupadd", "useradd"]


@pytest.mark.parametrize(
    ("services", "port"), [("code-server,dagster-webserver", "DAGSTER_PORT"), ("embedder", "EMBEDDER_PORT")]
)
def test_a_machine_without_ingress_is_as_healthy_as_what_it_serves(services: str, port: str) -> None:
    with answering(200, b"any page") as there:
        assert check(LOOSH_SERVICES=services, **{port: str(there)}).returncode == 0
    assert check(LOOSH_SERVICES=services, **{port: "1"}).returncode == 1
    assert check(LOOSH_SERVICES="worker, upkeep").returncode == 0


def test_one_that_does_not_answer_is_not() -> None:
    assert check(API_HOST="127.0.0.1", API_PORT="1").returncode == 1


def check(cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DOCKER / "healthcheck.py")]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=30, check=False)
