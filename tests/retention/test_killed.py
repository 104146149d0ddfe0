"""Killed anywhere, what stays is there, pages can be read, and the next slice finishes as if nothing had been."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.settings import get_settings
from tests.retention.conftest import evaluated, pruned
from tests.retention.test_restoring import loosh
from tests.world import World


def trials(days: float) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.retention.killed", str(get_settings().home), str(days)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_killed_at_every_step_it_leaves_what_can_be_read_and_gone_on_with(world: World) -> None:
    evaluated(world, "restored", "c-1", "c-2")
    pruned(world, 15)
    assert loosh("restore", "restored").exit_code == 0
    evaluated_again = [world.evaluate(world.accept(each)).run_id for each in ("c-3", "c-4")]
    world.evaluate(ChallengeId("newest"))
    world.refresh_metagraph()
    world.refresh_metagraph()
    world.instance.dispose()
    world.store.close()
    found = trials(15)
    unkilled = found[-1]
    assert [each["killed"] for each in found] == [True] * (len(found) - 1) + [False]
    assert len(found) > 20
    assert unkilled["left"]["shown"] == ["newest"]
    assert not set(evaluated_again) & set(unkilled["left"]["events"])
    for each in found:
        left = each["left"]
        assert left["challenges"] == 6
        assert left["of_no_run"] == [], "what was made says by which run, and that one is there"
        assert all(there for there, _ in left["pages"].values()), "no page says never"
        assert set(left["pages"]["consensus_scores"][1]) <= set(left["shown"])
        assert {name: each[name] for name in ("rows", "files", "pictures")} == {
            name: unkilled[name] for name in ("rows", "files", "pictures")
        }
