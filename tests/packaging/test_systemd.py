"""The units: by systemd's own checker where it is installed, and for what the validator relies on."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from dotenv import dotenv_values

from loosh_pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "systemd").glob("*.*"))
SERVICES = ["loosh-validator.service", "loosh-backup.service"]
STOPS_WITHIN_S = 30
MOST_EXPOSED = 2.0


def directives(name: str) -> dict[str, list[str]]:
    (path,) = (path for path in UNITS if path.name == name)
    found: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found[key].append(value)
    return found


def test_the_validator_is_stopped_by_itself_and_started_again_unless_its_settings_are_wrong() -> None:
    unit = directives("loosh-validator.service")
    assert (unit["KillMode"], unit["KillSignal"]) == (["mixed"], ["SIGTERM"])
    assert int(unit["TimeoutStopSec"][0]) > STOPS_WITHIN_S
    assert (unit["Restart"], unit["RestartPreventExitStatus"]) == (["on-failure"], ["2"])
    assert unit["OOMPolicy"] == ["continue"], "what the kernel kills, `loosh up` starts again"


def environment(unit: dict[str, list[str]], file: Path) -> dict[str, str]:
    """What the program of a service sees, put together in systemd's order: the file wins over `Environment=`."""
    found = dict(each.split("=", 1) for line in unit["Environment"] for each in shlex.split(line))
    found |= {name: value for name, value in dotenv_values(file).items() if value is not None}
    (command,) = unit["ExecStart"]
    program, *arguments = shlex.split(command)
    assert program == "/usr/bin/env"
    return found | dict(each.split("=", 1) for each in arguments if "=" in each)


@pytest.mark.parametrize("name", SERVICES)
def test_with_the_example_as_its_settings_it_keeps_everything_where_it_may_write(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what docs/operating/service.md installs. The data directory can be replaced as a whole: it is not
    the one that may be written itself."""
    unit, example = directives(name), ROOT / "env.example"
    assert {"LOOSH_HOME", "WALLET_PATH"} <= {key for key, value in dotenv_values(example).items() if value}
    for key, value in environment(unit, example).items():
        monkeypatch.setenv(key, value)
    settings, (writable,) = Settings(), unit["ReadWritePaths"]
    assert unit["EnvironmentFile"] == ["/etc/loosh/validator.env"]
    assert (str(settings.home), str(settings.wallet_path)) == (f"{writable}/data", f"{writable}/wallets")
    assert Path(settings.tables_root).is_relative_to(settings.home)


def test_nothing_to_back_up_is_no_failure() -> None:
    assert directives("loosh-backup.service")["SuccessExitStatus"] == ["3"]


@pytest.fixture
def analyze(tmp_path: Path) -> str:
    """The checker, over units whose program exists here."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    for path in UNITS:
        (tmp_path / path.name).write_text(path.read_text("utf-8").replace("/opt/loosh/.venv/bin/loosh", "/bin/true"))
    return program


def test_systemd_understands_every_line(analyze: str, tmp_path: Path) -> None:
    names = [path.name for path in UNITS]
    ended = subprocess.run(
        [analyze, "verify", "--man=no", *names],
        cwd=tmp_path,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in ended.stderr.splitlines() if "loosh" in line]
    assert (ended.returncode, ours) == (0, []), ended.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_little_is_exposed(analyze: str, tmp_path: Path, name: str) -> None:
    command = [analyze, "security", "--offline=true", f"--threshold={int(MOST_EXPOSED * 10)}", name]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout[-400:]
