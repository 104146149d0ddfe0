"""What the documents say to start and to ask, with real processes: a devnet, a validator, and whoever talks to them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from loosh_pipeline.settings import Settings
from loosh_pipeline.supervisor import free_ports
from tests.docs.fates import ON_A_DEVNET, STARTED

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

DEVNET, UP = STARTED
READY_WITHIN_S = 600.0
"""The first start makes the model ready, unless MODELS_DIR names where that was done."""
BIN = Path(sys.executable).parent
OURS = Settings.model_fields.keys() - {"models_dir"}
ENDS = {
    "loosh doctor": (0, 1),  # 1 where this machine is smaller than `min_compute.yml` says
    ".venv/bin/loosh weights set --waive change": (0, 3),  # not yet time, after those that were just set
    "loosh weights set": (0, 3),
    "loosh audit export": (0, 3),  # until the block that draws is final
}
SAYS = {0: "", 1: "wrong", 3: "not yet"}
"""What a command says that ends so; a failure of its own would say something else."""


@dataclass(frozen=True)
class Place:
    """A directory with a `.env` in it, and the ports that are taken in place of those of the documents."""

    folder: Path
    ports: Mapping[str, int]
    environment: Mapping[str, str]
    began: datetime

    def typed(self, command: str) -> str:
        """The command as it is typed here."""
        for shown, here in (
            (".venv/bin/", ""),
            ("http://your.host:8000", "http://127.0.0.1:8000"),
            (":8000", f":{self.ports['API_PORT']}"),
            (":8080", f":{self.ports['CHALLENGE_API']}"),
            (" ID ", " hello-1 "),
            ("c-123 c-124", "hello-1"),
        ):
            command = command.replace(shown, here)
        command = re.sub(r"--since \S+", f"--since {self.began:%Y-%m-%d}", command)
        return re.sub(r"--until \S+", f"--until {datetime.now(UTC):%Y-%m-%d}", command)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", self.typed(command)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_WITHIN_S,
        )


@contextmanager
def started(command: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (folder / "started.log").open("a") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) in (0, -signal.SIGTERM), (folder / "started.log").read_text()


def until(what: str, is_so: Callable[[], bool], folder: Path) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"{what}\n{(folder / 'started.log').read_text()}"
        time.sleep(0.3)


def healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/availability", trust_env=False).json()["available"] is True
    except (httpx.HTTPError, KeyError, ValueError):
        return False


def without_settings() -> dict[str, str]:
    """The environment with our commands on the PATH and without what this machine's validator is told."""
    kept = {name: value for name, value in os.environ.items() if name.lower() not in OURS}
    return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("as-documented")
    (folder / "prompts.txt").write_text("Why do leaves change colour in autumn?\nHow does a vaccine work?\n")
    (folder / "prompts.jsonl").write_text('{"prompt": "Why is the sky blue?"}\n')
    environment, began = {**without_settings(), "COLUMNS": "200"}, datetime.now(UTC)
    with started(f"{DEVNET} --chain-port 0 --challenge-api-port 0 --miner-port 0", folder, environment):
        until("the devnet writes its settings", (folder / ".env").exists, folder)
        names = ("API_PORT", "DAGSTER_PORT", "CODE_SERVER_PORT", "EMBEDDER_PORT")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        with (folder / ".env").open("a") as settings:
            settings.writelines(f"{name}={port}\n" for name, port in ports.items())
        (api,) = re.findall(r"^CHALLENGE_API_URL=.*:(\d+)", (folder / ".env").read_text(), re.MULTILINE)
        with started(UP, folder, environment):
            until("the validator takes challenges", lambda: healthy(ports["API_PORT"]), folder)
            yield Place(folder, {**ports, "CHALLENGE_API": int(api)}, environment, began)


def test_commands_do_what_their_pages_say(place: Place) -> None:
    """In one test, as each needs what those before it did. What went wrong with any is said at the end."""
    wrong = [said for command in ON_A_DEVNET if (said := complaint(command, place.run(command))) is not None]
    assert wrong == [], "\n\n".join(wrong)


def complaint(command: str, done: subprocess.CompletedProcess[str]) -> str | None:
    """What is wrong with how a command ended and with what it said; None: nothing."""
    said = f"{done.stdout}\n{done.stderr}"
    well = done.returncode in ENDS.get(command, (0,)) and SAYS[done.returncode] in said and "Traceback" not in said
    if well and command.startswith("curl"):
        well = "detail" not in json.loads(done.stdout)
    return None if well else f"{command} ended with {done.returncode}:\n{said}"


def test_the_demo_ends_by_itself_and_says_what_was_paid(tmp_path: Path) -> None:
    environment = {**without_settings(), "LOOSH_HOME": str(tmp_path / "home")}
    asked = ["bash", "-c", "loosh demo --once"]
    done = subprocess.run(
        asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=2 * READY_WITHIN_S
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["challenges"] == 12, summary
