"""The units: by systemd's own checker where it is installed, and for what the validator relies on."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).resolve().parents[2] / "systemd").glob("*.*"))
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


def test_the_data_directory_can_be_replaced_as_a_whole() -> None:
    """It lies in the directory that may be written, and is not that one itself."""
    unit = directives("loosh-validator.service")
    (writable,) = unit["ReadWritePaths"]
    assert f"LOOSH_HOME={writable}/" in unit["Environment"][0]


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


@pytest.mark.parametrize("name", ["loosh-validator.service", "loosh-backup.service"])
def test_little_is_exposed(analyze: str, tmp_path: Path, name: str) -> None:
    command = [analyze, "security", "--offline=true", f"--threshold={int(MOST_EXPOSED * 10)}", name]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout[-400:]
