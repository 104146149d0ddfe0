"""What Dagster is given: complete, quick to load, and configured alike wherever an instance is described."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from loosh_pipeline.definitions import defs
from loosh_pipeline.orchestrator import (
    CODE_LOCATION,
    RESCORE_DAY_JOB,
    RESCORE_JOB,
    SCORE_JOB,
    SINGLE_WRITER_TAG,
    WEIGHTS_JOB,
)
from loosh_pipeline.policy.checks import CHECKS
from loosh_pipeline.services import write_instance
from loosh_pipeline.settings import Settings
from loosh_pipeline.workers.config import QUEUE_TAG, UPKEEP
from sensors.jobs import ASSET_JOBS
from sensors.present_challenges import present_challenges
from tests.test_layers import OURS, ROOT

HEAVY = ("torch", "sentence_transformers", "transformers", "bittensor", "openai", "altair", "sklearn", "vl_convert")
"""A second or more each, or memory that every process would pay for: loaded where they are used only."""
WRITTEN_ELSEWHERE = {"challenges", "imported_emissions"}
"""By the ingress and by a command, not by code of an asset."""
SPECS = sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key)
GROUPS = {
    "intake": {"challenges", "imported_emissions"},
    "chain": {"metagraph"},
    "availability": {"miner_availability"},
    "network": {"network_view"},
    "context": {"scoring_context"},
    "evaluation": {
        "miner_responses",
        "embeddings",
        "consensus_scores",
        "shadow_scores",
        "submissions",
        "heatmaps",
        "narratives",
    },
    "rescoring": {"rescored_scores", "rescored_days"},
    "weights": {
        "emissions",
        "weight_proposal",
        "shadow_emissions",
        "shadow_diff",
        "accusations",
        "audit_seals",
        "canary_accuracy",
        "weights",
        "weight_receipts",
        "penalties",
    },
    "upkeep": {"compacted_tables", "pruned_history"},
}


def test_they_load_without_a_warning() -> None:
    command = [sys.executable, "-W", "error", "-c", "import dagster as dg; from loosh_pipeline.definitions import defs"]
    command[-1] += "; dg.Definitions.validate_loadable(defs)"
    loaded = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (loaded.returncode, loaded.stdout, loaded.stderr) == (0, "", "")


def test_loading_them_loads_nothing_heavy() -> None:
    code = f"import json, sys, loosh_pipeline.definitions; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(loaded.stdout) == []


def test_the_file_that_wires_lists_no_details() -> None:
    assert len((ROOT / "loosh_pipeline" / "definitions.py").read_text().splitlines()) < 60


def test_every_asset_is_in_its_group() -> None:
    found = {group: {s.key.to_user_string() for s in SPECS if s.group_name == group} for group in GROUPS}
    assert found == GROUPS
    assert len(SPECS) == sum(map(len, GROUPS.values()))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key.to_user_string())
def test_every_asset_says_what_it_is(spec: dg.AssetSpec) -> None:
    assert spec.description
    assert spec.owners
    assert spec.kinds
    if spec.key.to_user_string() not in WRITTEN_ELSEWHERE:
        assert spec.code_version


def test_the_lineage_runs_from_a_challenge_to_the_receipt_of_its_weights() -> None:
    graph = defs.resolve_asset_graph()
    upstream: set[dg.AssetKey] = set()
    waiting = [dg.AssetKey("weight_receipts")]
    while waiting:
        parents = graph.get(waiting.pop()).parent_keys - upstream
        upstream |= parents
        waiting += parents
    assert {key.to_user_string() for key in upstream} == {
        "challenges",
        "metagraph",
        "miner_availability",
        "network_view",
        "miner_responses",
        "embeddings",
        "scoring_context",
        "consensus_scores",
        "emissions",
        "imported_emissions",
        "weight_proposal",
        "weights",
    }


@pytest.mark.parametrize(
    ("job", "group", "partitioned"),
    [
        (SCORE_JOB, "evaluation", True),
        (WEIGHTS_JOB, "weights", False),
        ("refresh_metagraph", "chain", False),
        ("refresh_network_view", "network", False),
        ("refresh_context", "context", False),
        ("refresh_availability", "availability", False),
        ("retention", "upkeep", False),
    ],
)
def test_each_job_runs_one_group(job: str, group: str, partitioned: bool) -> None:
    resolved = defs.resolve_job_def(job)
    executed = {key.to_user_string() for key in resolved.asset_layer.executable_asset_keys}
    assert executed == GROUPS[group]
    assert (resolved.partitions_def is not None) == partitioned
    assert resolved.executor_def is dg.in_process_executor


def test_what_decides_about_weights_blocks_them() -> None:
    graph = defs.resolve_asset_graph()
    blocking = {key.name: graph.get_check_spec(key).blocking for key in graph.asset_check_keys}
    unblocking = ("all_sealed", "validator_in_order", "weights_in_time", "weights_on_chain", "shadow_moves_little")
    assert blocking == dict.fromkeys(("sound", *CHECKS), True) | dict.fromkeys(unblocking, False)


def test_sensors_and_schedules_run_unless_they_are_stopped() -> None:
    sensors = {sensor.name: sensor.default_status for sensor in defs.sensors or ()}
    assert sensors == dict.fromkeys(
        ("challenge_sensor", "metagraph_sensor", "outbox_sensor"), dg.DefaultSensorStatus.RUNNING
    )
    schedules = {schedule.name: schedule.default_status for schedule in defs.schedules or ()}
    assert schedules == dict.fromkeys(
        (
            *("weights_schedule", "receipts_schedule"),
            *("context_schedule", "availability_schedule", "network_view_schedule", "retention_schedule"),
        ),
        dg.DefaultScheduleStatus.RUNNING,
    )


def shipped(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture
def written(settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """The yaml files that `loosh up` writes, by name."""
    write_instance(tmp_path / "dagster_home", settings)
    return {path.name: yaml.safe_load(path.read_text()) for path in (tmp_path / "dagster_home").iterdir()}


def test_dagster_itself_reads_both_descriptions_of_an_instance(settings: Settings, tmp_path: Path) -> None:
    homes = [tmp_path / "shipped", tmp_path / "written"]
    homes[0].mkdir()
    (homes[0] / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    write_instance(homes[1], settings)
    for home in homes:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            assert instance.telemetry_enabled is False
            assert instance.nux_enabled is False
            assert isinstance(instance.run_coordinator, dg.QueuedRunCoordinator)
            assert instance.run_monitoring_enabled is True
            assert instance.run_retries_enabled is False
            queue = instance.get_concurrency_config().run_queue_config
            assert queue is not None
            assert {"key": SINGLE_WRITER_TAG, "limit": 1} in queue.tag_concurrency_limits
            assert instance.run_launcher.supports_check_run_worker_health


def test_nothing_that_ships_or_is_written_sends_telemetry(written: dict[str, Any]) -> None:
    listing = subprocess.run(
        ["git", "ls-files", "*.yaml", "*.yml"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    yamls = {name: shipped(name) for name in listing.stdout.split()} | {f"written {n}": c for n, c in written.items()}
    instances = {name: content for name, content in yamls.items() if name.endswith("dagster.yaml")}
    assert set(instances) >= {"dagster.yaml", "written dagster.yaml"}
    assert [name for name, content in instances.items() if content.get("telemetry") != {"enabled": False}] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["dg"]["cli"]["telemetry"] == {"enabled": False}


def test_all_but_evaluations_are_executed_by_workers_of_their_own() -> None:
    asset_jobs = {job.name: job.tags or {} for job in ASSET_JOBS}
    queues = {name: tags.get(QUEUE_TAG) for name, tags in {**asset_jobs, "present": present_challenges.tags}.items()}
    assert [queues.pop(job) for job in (SCORE_JOB, RESCORE_JOB, RESCORE_DAY_JOB)] == [None] * 3
    assert set(queues.values()) == {UPKEEP}


def test_dagster_dev_and_loosh_up_agree(written: dict[str, Any]) -> None:
    development, service = shipped("dagster.yaml"), written["dagster.yaml"]
    # One starts a process a run, the other has warm workers, with what belongs to them.
    assert set(service) - set(development) == {"storage", "compute_logs", "python_logs"}
    alike = ("telemetry", "nux", "freshness", "run_retries", "retention")
    assert {name: development[name] for name in alike} == {name: service[name] for name in alike}
    # How long a run may take follows from CHALLENGE_TIMEOUT_S; the shipped file is for its default or more.
    longest_s = [config["run_monitoring"]["max_runtime_seconds"] for config in (development, service)]
    assert longest_s[0] >= longest_s[1]


def test_both_workspaces_name_the_location_that_runs_are_launched_in(
    settings: Settings, written: dict[str, Any]
) -> None:
    (module,) = shipped("workspace.yaml")["load_from"]
    assert module == {"python_module": {"module_name": "loosh_pipeline.definitions", "location_name": CODE_LOCATION}}
    (server,) = written["workspace.yaml"]["load_from"]
    assert server == {
        "grpc_server": {"host": "127.0.0.1", "port": settings.code_server_port, "location_name": CODE_LOCATION}
    }


def test_every_package_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(OURS)
