"""The processes of a validator, and the Dagster instance they share."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from loosh_pipeline.embedding.model import BUILTIN
from loosh_pipeline.lock import PROCESS, SUPERVISED
from loosh_pipeline.orchestrator import BACKFILL_TAG, CODE_LOCATION, RESCORING_TAG, SINGLE_WRITER_TAG
from loosh_pipeline.settings import FILES_BROKER, NO_RESULTS, Settings
from loosh_pipeline.settings.model import reached_at
from loosh_pipeline.settings.roles import EMBEDDER
from loosh_pipeline.supervisor import Service
from loosh_pipeline.workers.config import (
    QUEUE_TAG,
    SPARE_CHILDREN,
    UPKEEP,
    UPKEEP_CHILDREN,
    configuration,
    longest_run_s,
)

LOOPBACK = "127.0.0.1"
DAEMON = "dagster-daemon"
PYTHON = sys.executable
LOGGED = (PYTHON, "-m", "loosh_pipeline.logged")
"""Programs of others, with log lines in our form."""
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")}
"""Many worker processes share few cores; threads of their own would only get in each other's way."""
MONITORED_EVERY_S = 3
START_WITHIN_S = 90
"""Hardly more runs are launched than workers are free for, so one that has not started by then never will: its message
was lost, or lies with a machine that is gone. Several launchers may see the same free workers; what waits too long by
that gets another run."""
BACKFILLS_AT_ONCE = 4
RESCORINGS_AT_ONCE = 1
"""Each uses all processors there are; one that is no backfill comes on top of these."""
FRESHNESS_LOOKED_AT_EVERY_S = "120"
"""Emissions and weights are late after hours; Dagster itself would look every 30 s."""
DEQUEUED_EVERY_S = 3
"""Each look pages through all that waits in Dagster's queue, however long a backfill is."""


def services(settings: Settings) -> list[Service]:
    """What `planned` says, once the Dagster instance of this validator (`LOOSH_HOME/dagster_home`) is written."""
    write_instance(settings.home / "dagster_home", settings)
    return planned(settings)


def planned(settings: Settings) -> list[Service]:
    """Embedder, code server, workers, webserver, daemon and ingress, in the order in which they are started: those that
    LOOSH_SERVICES names.
    """
    dagster_home = settings.home / "dagster_home"
    env = environment(settings, dagster_home)
    workspace = str(dagster_home / "workspace.yaml")
    code = ["--host", LOOPBACK, "--port", str(settings.code_server_port), "--location-name", CODE_LOCATION]
    embedder = ["--host", settings.embedder_host, "--port", str(settings.embedder_port)]
    web = ["--host", settings.dagster_host, "--port", str(settings.dagster_port), "--workspace", workspace]
    worker = [PYTHON, "-m", "loosh_pipeline.workers"]
    ours = [
        Service("ingress", [PYTHON, "-m", "ingress"], env, settings.api_port, settings.api_reached_at),
        Service(
            "code-server",
            [*LOGGED, "-m", "dagster", "api", "grpc", "--module-name", "loosh_pipeline.definitions", *code],
            env,
            settings.code_server_port,
        ),
        Service(
            EMBEDDER,
            [PYTHON, "-m", "loosh_pipeline.embedding", *embedder],
            env,
            settings.embedder_port,
            reached_at(settings.embedder_host),
        ),
        Service("worker", worker, {**env, **ONE_THREAD}, stops_its_own=True),
        Service("upkeep", [*worker, "--queue", UPKEEP], {**env, **ONE_THREAD}, stops_its_own=True),
        Service(
            "dagster-webserver",
            [*LOGGED, "-m", "dagster_webserver", *web],
            env,
            settings.dagster_port,
            reached_at(settings.dagster_host),
            after=["code-server"],
        ),
        Service(
            DAEMON,
            [*LOGGED, "-m", "dagster._daemon", "run", "--workspace", workspace],
            {**env, "FRESHNESS_DAEMON_INTERVAL_SECONDS": FRESHNESS_LOOKED_AT_EVERY_S},
            after=["code-server"],
        ),
    ]
    if settings.alert_webhook_url is not None:
        ours.append(Service("alerts", [PYTHON, "-m", "loosh_pipeline.alerting"], env))
    wanted = [service for service in ours if settings.runs_here(service.name)]
    if not embeds_here(settings):
        wanted = [service for service in wanted if service.name != EMBEDDER]
    # Dagster's commands let a `.env` in the working directory override the environment, even with empty values.
    return [replace(service, cwd=dagster_home, env={**service.env, PROCESS: service.name}) for service in wanted]


def embeds_here(settings: Settings) -> bool:
    """Whether the embedder runs here. With a server elsewhere a second one would only take memory, but where
    LOOSH_SERVICES names it: the address may be the one by which other machines know it.
    """
    if settings.loosh_services:
        return settings.runs_here(EMBEDDER)
    return settings.embedder_url is None and settings.embedding_url is None


def environment(settings: Settings, dagster_home: Path) -> Mapping[str, str]:
    """What every process is told beyond the environment it inherits; it means the same in any directory."""
    told = settings.environment()
    if settings.embedding_url is None and (settings.embedder_url is not None or embeds_here(settings)):
        told["EMBEDDER_URL"] = str(settings.embedder_url or settings.own_embedder_url)
    if settings.dagster_url is not None or settings.runs_here("dagster-webserver"):
        told["DAGSTER_URL"] = str(settings.dagster_url or settings.own_dagster_url)
    return {
        **told,
        **{name.upper(): str(path) for name, path in _paths(settings).items()},
        "LOOSH_HOME": str(settings.home),
        "DAGSTER_HOME": str(dagster_home),
        "PUBLIC_URL": settings.ingress_url,
        "CELERY_RESULT_BACKEND": NO_RESULTS,
        "PYTHONUNBUFFERED": "1",
        SUPERVISED: "1",
    }


def _paths(settings: Settings) -> dict[str, Path]:
    """The paths among the settings, absolute; without those that are unset, and URLs."""
    paths = {name: value for name, value in settings if isinstance(value, Path)}
    if settings.tables_dir and "://" not in settings.tables_dir:
        paths["tables_dir"] = Path(settings.tables_dir)
    if settings.embedding_url is None and settings.embedding_model != BUILTIN:
        paths["embedding_model"] = Path(settings.embedding_model)
    return {name: path.expanduser().absolute() for name, path in paths.items()}


def write_instance(dagster_home: Path, settings: Settings) -> None:
    """The yaml files that Dagster reads; rewritten at every start, for the settings rule."""
    dagster_home.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("dagster.yaml", _instance(dagster_home, settings)),
        ("workspace.yaml", _workspace(settings)),
    ):
        (dagster_home / name).write_text(yaml.safe_dump(content, sort_keys=False))


def _instance(dagster_home: Path, settings: Settings) -> dict[str, Any]:
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "storage": {"custom": _storage(dagster_home, settings)},
        # Dagster's own would start four processes a run to follow its output, which goes to the worker's log.
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "run_coordinator": {
            "module": "loosh_pipeline.workers.coordinator",
            "class": "InboxFirstCoordinator",
            "config": {"dequeue_interval_seconds": DEQUEUED_EVERY_S},
        },
        "run_launcher": {
            "module": "loosh_pipeline.workers.launcher",
            "class": "WorkerRunLauncher",
            "config": _launcher(settings),
        },
        "concurrency": {
            "runs": {
                "max_concurrent_runs": -1,  # challenges in flight are limited by the inbox, and count for nothing here
                "tag_concurrency_limits": [
                    {"key": SINGLE_WRITER_TAG, "limit": 1},
                    {
                        "key": BACKFILL_TAG,
                        "limit": min(
                            BACKFILLS_AT_ONCE, settings.max_concurrent_runs + SPARE_CHILDREN - 1 - RESCORINGS_AT_ONCE
                        ),
                    },
                    {"key": RESCORING_TAG, "limit": RESCORINGS_AT_ONCE},
                    {"key": QUEUE_TAG, "value": UPKEEP, "limit": UPKEEP_CHILDREN},
                ],
            }
        },
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": START_WITHIN_S,
            "max_runtime_seconds": longest_run_s(settings),
            "poll_interval_seconds": MONITORED_EVERY_S,
            "max_resume_run_attempts": 0,
        },
        "freshness": {"enabled": True},
        "run_retries": {"enabled": False},
        # Dagster's own events lie in its event log; the worker's log is for what assets say.
        "python_logs": {"python_log_level": settings.log_level},
        "retention": {
            "sensor": {"purge_after_days": {"skipped": 1, "failure": 30, "success": 7}},
            "schedule": {"purge_after_days": {"skipped": 7, "failure": 30, "success": 30}},
        },
    }


def _storage(dagster_home: Path, settings: Settings) -> dict[str, Any]:
    """Where runs and events are kept. The address of a server may hold a password: it stays in the environment."""
    if settings.dagster_database_url is None:
        where = {"module": "loosh_pipeline.workers.storage", "class": "WarmSqliteStorage"}
        return {**where, "config": {"base_dir": str(dagster_home)}}
    where = {"module": "loosh_pipeline.workers.postgres", "class": "WarmPostgresStorage"}
    return {**where, "config": {"postgres_url": {"env": "DAGSTER_DATABASE_URL"}}}


def _launcher(settings: Settings) -> dict[str, Any]:
    """Addresses of servers may hold passwords: they stay in the environment, where the processes find them."""
    broker: object = FILES_BROKER if settings.hands_out_files else {"env": "CELERY_BROKER_URL"}
    return {"broker": broker, "backend": NO_RESULTS, "config_source": configuration(settings)}


def _workspace(settings: Settings) -> dict[str, Any]:
    server = {"host": LOOPBACK, "port": settings.code_server_port, "location_name": CODE_LOCATION}
    return {"load_from": [{"grpc_server": server}]}
