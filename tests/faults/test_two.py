"""Two `loosh up` on one data directory, and one that is killed and started again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from loosh_pipeline.processes import processes_of
from tests.e2e.processes import kill
from tests.faults.conftest import Judge
from tests.faults.installation import Installation, loosh_up
from tests.faults.trial import Trial
from tests.faults.victims import COMMANDS, is_meant, pid_of

ALONE = ("ingress", "embedder", "daemon", "webserver", "code-server", "worker-parent", "upkeep")


def test_two_loosh_up(validator: Installation, trial_of: Callable[[Installation], Trial], judge: Judge) -> None:
    trial = trial_of(validator)
    trial.fill()
    before = {name: pid_of(validator.home, name) for name in COMMANDS}
    trial.strike()
    second = loosh_up(validator)
    trial.push()
    assert second.returncode == 1
    (line,) = second.stderr.strip().splitlines()
    assert f"a validator (process {before['loosh-up']}) runs in {validator.home} already" in line
    judge(trial.verdict())
    assert {name: pid_of(validator.home, name) for name in COMMANDS} == before, "the first goes on undisturbed"


def test_loosh_up_killed_in_mid_challenge(
    validator: Installation, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    """Whoever looks after `loosh up` starts it again at once, while the processes of the killed one are ending."""
    trial = trial_of(validator)
    trial.fill()
    pid = pid_of(validator.home, "loosh-up")
    assert pid is not None
    most: Counter[str] = Counter()
    trial.strike()
    kill(pid)
    validator.manager.check()
    trial.push(each_time=lambda: _count(validator, most))
    judge(trial.verdict(lambda: _count(validator, most)))
    assert set(most) == set(ALONE)
    assert max(most.values()) == 1, "no two of a kind ever ran side by side"
    assert pid_of(validator.home, "loosh-up") != pid


def _count(validator: Installation, most: Counter[str]) -> None:
    """Keep the largest number of processes that ran of each kind; those of a kind that belong together are one."""
    validator.manager.check()
    found = list(processes_of(validator.home))
    for name in ALONE:
        ours = [process for process in found if is_meant(process, name)]
        pids = {process.pid for process in ours}
        most[name] = max(most[name], sum(process.parent not in pids for process in ours))
