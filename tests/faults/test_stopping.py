"""SIGTERM to `loosh up`: whenever it comes, all has ended within thirty seconds, and nothing accepted is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loosh_pipeline.devnet.faults import Fault
from loosh_pipeline.devnet.subnet import DevnetInfo
from loosh_pipeline.local import devnet_process, local_settings
from loosh_pipeline.processes import processes_of
from tests.e2e.processes import evaluating_pids, of_nobody
from tests.faults.installation import SETTINGS, UP, Installation, installed, up_service
from tests.faults.lines import VERDICT, fault_of
from tests.faults.trial import Trial
from tests.faults.victims import pid_of

STOPPED_WITHIN_S = 30.0
HANGS_FOR_S = 25.0
"""As long as a challenge waits for a miner that hangs: longer than a worker gives its runs when it is told to stop."""
MOMENTS_S = (0.5, 2.0, 5.0, 9.0)
"""After which a start is broken off: in the first ones the signal itself ends it."""

Tell = Callable[..., None]


@pytest.fixture(scope="module")
def subnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetInfo]:
    """One miner more than the others have: it takes a challenge, and never answers."""
    home = tmp_path_factory.mktemp("hanging")
    options = ["--fault", Fault.HANG.value]
    with of_nobody(home), devnet_process(home, lambda _: None, miners=5, options=options) as (info, _):
        yield info


@pytest.fixture(scope="module")
def stoppable(subnet: DevnetInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(subnet, tmp_path_factory.mktemp("stopping"), challenge_timeout_s=HANGS_FOR_S) as validator:
        yield validator


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Keeps what a stop came to for whoever prints it, and fails the test when it took too long or did harm."""

    def tell(stopped_s: float, **line: Any) -> None:
        line = {"fault": fault_of(request.node.nodeid), **line, "stopped_s": round(stopped_s, 1)}
        line["ok"] = line.get("ok", True) and stopped_s <= STOPPED_WITHIN_S
        request.node.user_properties.append((VERDICT, line))
        assert line["ok"], line

    return tell


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(state, id=f"sigterm-{state}")
        for state in ("idle", "miners-hang", "worker-parent-hangs", "ingress-hangs", "daemon-hangs")
    ],
)
def test_stopped(stoppable: Installation, state: str, request: pytest.FixtureRequest, tell: Tell) -> None:
    trial = Trial(fault_of(request.node.nodeid), stoppable)
    if state == "miners-hang":
        for _ in range(6):
            trial.push()
        stoppable.until("runs that wait for it", lambda: len(evaluating_pids(stoppable.settings)) >= 4)
    elif state != "idle":
        victim = state.removesuffix("-hangs")
        os.kill(stoppable.until(victim, lambda: pid_of(stoppable.home, victim)), signal.SIGSTOP)
    trial.strike()
    stopped_s = _stop(stoppable)
    stoppable.until("another `loosh up`", lambda: stoppable.manager.check() or stoppable.manager.alive())
    trial.push()
    tell(stopped_s, **trial.verdict().line())


def _stop(validator: Installation) -> float:
    """Tell `loosh up` to stop; seconds until it and everything of it has ended."""
    process = validator.manager._children[UP].process
    begun_s = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    code = process.wait(2 * STOPPED_WITHIN_S)
    stopped_s = time.monotonic() - begun_s
    assert (code, list(processes_of(validator.home))) == (0, []), validator.report()
    return stopped_s


@pytest.mark.parametrize("moments_s", [pytest.param(MOMENTS_S, id="sigterm-while-starting")])
def test_stopped_while_starting(subnet: DevnetInfo, tmp_path: Path, moments_s: tuple[float, ...], tell: Tell) -> None:
    settings = local_settings(subnet, tmp_path, **SETTINGS)
    service = up_service(settings, {})
    longest_s = 0.0
    for after_s in moments_s:
        with subprocess.Popen(service.command, env={**os.environ, **service.env}, cwd="/") as process:
            time.sleep(after_s)
            begun_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = process.wait(2 * STOPPED_WITHIN_S)
        longest_s = max(longest_s, time.monotonic() - begun_s)
        assert (code in (0, -signal.SIGTERM), list(processes_of(tmp_path))) == (True, [])
    nothing = dict.fromkeys(("lost", "scored_twice", "stuck", "in_flight", "challenges"), 0)
    tell(longest_s, **nothing, recovery_s=round(longest_s, 1), load=round(os.getloadavg()[0], 2))
