"""Which scorer every weight came from, and what Dagster calls stale once the scorer is another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from loosh_pipeline.scoring.profile import CODE_VERSION, RobustProfile, scorer_version
from tests.world import ANSWERS, MODEL_DIGEST, World, metadata_of

ROOT = Path(__file__).resolve().parents[2]
STATUS = """
import json, sys
import dagster as dg
import loosh_pipeline.scoring.profile as profile
profile.CODE_VERSION = int(sys.argv[2])
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from loosh_pipeline.definitions import defs
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    graph = defs.get_repository_def().asset_graph
    loading = LoadingContextForTest(instance)
    seen = CachingStaleStatusResolver(instance=instance, asset_graph=graph, loading_context=loading)
    def status(name, partition=None):
        return seen.get_status(dg.AssetKey(name), partition).value
    found = {name: status(name) for name in ("emissions", "weight_proposal", "weights")}
    challenges = instance.get_dynamic_partitions("challenges")
    found |= {each: status("consensus_scores", each) for each in challenges}
    causes = [cause.reason for cause in seen.get_stale_causes(dg.AssetKey("emissions"), None)]
print(json.dumps([found, causes]))
"""
"""Everything is loaded anew, as a validator of another release would: versions are read as assets are defined."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return home


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def statuses(home: Path, code_version: int) -> tuple[dict[str, str], list[str]]:
    """What Dagster says of a code version of the scorer."""
    command = [sys.executable, "-c", STATUS, str(home), str(code_version)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found, causes = json.loads(done.stdout.splitlines()[-1])
    return found, causes


def test_every_weight_says_which_scorer_it_came_from(own_home: Path, world: World) -> None:
    world.store_round("c-1", dict.fromkeys(ANSWERS, True))
    world.store_round("c-2", dict.fromkeys(ANSWERS, True), profile=RobustProfile(relevance_gate=0.4))
    result = world.set_weights(config={"waive": ["one_scorer_version"]})
    versions = {
        scorer_version(profile, MODEL_DIGEST) for profile in (RobustProfile(), RobustProfile(relevance_gate=0.4))
    }
    for asset in ("weight_proposal", "weights"):
        said = metadata_of(result, asset)["scorer_versions"]
        assert said == ", ".join(f"{version} (1 rounds)" for version in sorted(versions))
    assert metadata_of(result, "emissions")["scorer_versions"] == ", ".join(sorted(versions))


@pytest.mark.slow
def test_scores_and_weights_of_an_older_scorer_are_stale(world: World, home: Path) -> None:
    for name in ("c-1", "c-2"):
        assert world.evaluate(world.accept(name)).success
    assert world.set_weights().success
    fresh, causes = statuses(home, CODE_VERSION)
    assert fresh == dict.fromkeys(("emissions", "weight_proposal", "weights", "c-1", "c-2"), "FRESH")
    assert causes == []
    stale, causes = statuses(home, CODE_VERSION + 1)
    assert stale == dict.fromkeys(("emissions", "weight_proposal", "weights", "c-1", "c-2"), "STALE")
    assert "has a new code version" in causes
