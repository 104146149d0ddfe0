"""A clock that jumps ahead by an hour, and is put right while challenges are under way."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from loosh_pipeline.orchestrator import CODE_LOCATION, REPOSITORY
from tests.faketime import faked
from tests.faults.conftest import Install, Judge
from tests.faults.installation import Installation
from tests.faults.trial import Trial

AHEAD_FOR_S = 15.0
"""Long enough for sensors, schedules, retries and run monitoring to look at the wrong clock."""


def test_clock_jump(
    install: Install, tmp_path_factory: pytest.TempPathFactory, trial_of: Callable[[Installation], Trial], judge: Judge
) -> None:
    """The clock of recovery runs from when the other one is right again."""
    home = tmp_path_factory.mktemp("clock")
    ahead = home / "ahead"
    ahead.write_text("+0")
    with install(home, env=faked(ahead)) as validator:
        trial = trial_of(validator)
        trial.fill()
        ahead.write_text("+3600")
        for _ in range(3):
            trial.push()
            time.sleep(AHEAD_FOR_S / 3)
        trial.strike()
        ahead.write_text("+0")
        trial.push()
        judge(trial.verdict())
        _sensors_and_schedules_tick(validator)


def _sensors_and_schedules_tick(validator: Installation) -> None:
    since_s = time.time()
    for name in ("challenge_sensor", "outbox_sensor", "metagraph_sensor", "receipts_schedule"):
        validator.until(f"a tick of {name}", lambda name=name: _last_tick_s(validator, name) > since_s, 90.0)


_TICKS = """
query ($selector: InstigationSelector!) { instigationStateOrError(instigationSelector: $selector) { __typename
  ... on InstigationState { ticks(limit: 1) { timestamp } } } }"""


def _last_tick_s(validator: Installation, name: str) -> float:
    selector = {"repositoryName": REPOSITORY, "repositoryLocationName": CODE_LOCATION, "name": name}
    body = {"query": _TICKS, "variables": {"selector": selector}}
    answer = validator.dagster.client.post(f"{validator.dagster.url}/graphql", json=body).raise_for_status().json()
    ticks = answer["data"]["instigationStateOrError"]["ticks"]
    return float(ticks[0]["timestamp"]) if ticks else 0.0
