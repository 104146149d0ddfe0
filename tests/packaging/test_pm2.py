"""PM2/ecosystem.config.js, as node reads it. What PM2 itself does was tried by hand: docs/operating/service.md."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "PM2" / "ecosystem.config.js"
STOPS_WITHIN_MS = 30_000

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def app(**env: str) -> dict[str, Any]:
    code = f"console.log(JSON.stringify(require({json.dumps(str(CONFIG))})))"
    node = shutil.which("node")
    assert node is not None
    ended = subprocess.run([node, "-e", code], env=env, capture_output=True, text=True, timeout=30, check=True)
    (found,) = json.loads(ended.stdout)["apps"]
    return dict(found)


def test_by_default_it_runs_this_checkout_in_this_checkout() -> None:
    found = app(HOME="/home/v")
    assert found["name"] == "loosh-inference-validator"
    assert found["cwd"] == str(ROOT)
    own = ROOT / ".venv" / "bin" / "python"
    assert found["script"] == (str(own) if own.exists() else "python3")
    assert (found["args"], found["interpreter"]) == (["-m", "loosh_pipeline.cli", "up"], "none")
    assert found["env"] == {"PYTHONUNBUFFERED": "1"}, "what nobody gave is left to .env"


@pytest.mark.parametrize(
    ("given", "script"),
    [
        ("/opt/venv/bin/python", "/opt/venv/bin/python"),
        ("~/venv/bin/python", "/home/v/venv/bin/python"),
        ("venv/bin/python", "/srv/validator/venv/bin/python"),
        ("python3.12", "python3.12"),
    ],
)
def test_interpreter_and_directory_are_as_told(given: str, script: str) -> None:
    found = app(HOME="/home/v", PYTHON_INTERPRETER=given, VALIDATOR_WORKDIR="/srv/validator")
    assert (found["script"], found["cwd"]) == (script, "/srv/validator")
    logs = {kind: found[f"{kind}_file"] for kind in ("error", "out", "log")}
    assert logs == {
        "error": "/srv/validator/logs/validator-error.log",
        "out": "/srv/validator/logs/validator-out.log",
        "log": "/srv/validator/logs/validator-combined.log",
    }
    assert app(HOME="/home/v", VALIDATOR_WORKDIR="~/w")["cwd"] == "/home/v/w"


def test_host_and_port_are_passed_on_when_they_are_given() -> None:
    env = app(API_HOST="127.0.0.1", API_PORT="8100")["env"]
    assert (env["API_HOST"], env["API_PORT"]) == ("127.0.0.1", "8100")
    assert "API_PORT" not in app(API_HOST="127.0.0.1", API_PORT="")["env"]


def test_it_is_started_again_unless_its_settings_are_wrong_and_is_given_time_to_stop() -> None:
    found = app()
    assert (found["autorestart"], found["stop_exit_codes"]) == (True, [2])
    assert found["exp_backoff_restart_delay"] > 0
    assert found["kill_timeout"] > STOPS_WITHIN_MS
    assert found["treekill"] is False, "its processes are stopped by it, not past it"
