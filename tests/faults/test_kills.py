"""kill -9 of every process, while nothing happens and while challenges are at all stages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.processes import kill
from tests.faults.conftest import Judge
from tests.faults.installation import Installation
from tests.faults.trial import Trial
from tests.faults.victims import child_of_worker, child_that_asks, pid_of

VICTIMS = ("ingress", "worker-parent", "worker-child", "upkeep", "embedder", "daemon", "webserver", "code-server")


@pytest.mark.parametrize("victim", [pytest.param(each, id=f"{each}-idle") for each in VICTIMS])
def test_killed_at_idle(
    validator: Installation, victim: str, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    trial = trial_of(validator)
    pid = validator.until(f"the {victim}", lambda: _pid(validator, victim))
    trial.strike()
    kill(pid)
    trial.push()
    judge(trial.verdict())
    assert validator.until(f"another {victim}", lambda: _pid(validator, victim)) != pid


@pytest.mark.parametrize("victim", [pytest.param(each, id=f"{each}-mid-challenge") for each in VICTIMS])
def test_killed_in_mid_challenge(
    validator: Installation, victim: str, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    trial = trial_of(validator)
    trial.fill()
    if victim == "worker-child":
        pid = validator.until("a run that waits for a miner", lambda: child_that_asks(validator))
    else:
        pid = validator.until(f"the {victim}", lambda: _pid(validator, victim))
    trial.strike()
    kill(pid)
    trial.push()
    assert trial.in_flight >= 2
    judge(trial.verdict())
    assert validator.until(f"another {victim}", lambda: _pid(validator, victim)) != pid


def _pid(validator: Installation, victim: str) -> int | None:
    return child_of_worker(validator.home) if victim == "worker-child" else pid_of(validator.home, victim)
