"""A devnet and a validator on it, in processes of their own on free loopback ports: for the demo and for tests."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from loosh_pipeline.devnet.subnet import DevnetInfo
from loosh_pipeline.embedding.model import BUILTIN
from loosh_pipeline.errors import DevnetError
from loosh_pipeline.log_files import Say
from loosh_pipeline.orchestrator import DagsterApi
from loosh_pipeline.services import LOOPBACK
from loosh_pipeline.settings import Settings, get_settings
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.supervisor import Service, Supervisor, free_ports, supervised

STARTED_WITHIN_S = 120.0
NOT_OF_THE_MACHINE = (
    "db_path",
    "users_db_path",
    "database_url",
    "tables_dir",
    "heatmaps_dir",
    "public_url",
    "dagster_url",
    "embedder_url",
    "embedding_model_name",
    "embedding_api_key",
    "challenge_api_key",
    "challenge_push_api_key",
    "reported_version",
)
"""Settings of a real validator on this machine that a local one must not touch."""


@contextmanager
def devnet_process(
    home: Path, say: Say, *, miners: int, answers: Path | None = None, options: Sequence[str] = ()
) -> Iterator[tuple[DevnetInfo, Supervisor]]:
    """Serve a devnet from a process of its own, with its wallet in `home`. Raises DevnetError with its log.

    `options`: further ones of `loosh devnet`.
    """
    info_file = home / "devnet.json"
    command = [sys.executable, "-m", "loosh_pipeline.cli", "devnet", "--miners", str(miners)]
    command += ["--chain-port", "0", "--challenge-api-port", "0", "--miner-port", "0", "--info-file", str(info_file)]
    command += ["--answers", str(answers)] if answers else []
    command += options
    with supervised([Service("devnet", command, {"LOOSH_HOME": str(home)})], home / "logs", say) as supervisor:
        yield _started(info_file, supervisor), supervisor


def _started(info_file: Path, supervisor: Supervisor) -> DevnetInfo:
    deadline_s = time.monotonic() + STARTED_WITHIN_S
    while not info_file.exists():
        if time.monotonic() > deadline_s or not supervisor.alive():
            raise DevnetError(f"the devnet did not start; its log ends:\n{supervisor.log_tail('devnet')}")
        time.sleep(0.1)
    return DevnetInfo.from_json(info_file.read_text())


def local_settings(info: DevnetInfo, home: Path, **changes: Any) -> Settings:
    """Settings of a validator in `home` on that devnet, on free ports."""
    ports = dict(zip(("api_port", "dagster_port", "code_server_port", "embedder_port"), free_ports(4), strict=True))
    devnet: dict[str, Any] = {name.lower(): value for name, value in info.environment().items()}
    # Exports of a model serve whoever runs it: a home of its own would wait for one of its own.
    model: dict[str, Any] = {"embedding_model": BUILTIN, "models_dir": get_settings().models_root}
    intake: dict[str, Any] = {"intake_auth": "required", "intake_hotkeys": (), "intake_local_auth": False}
    values: dict[str, Any] = {**dict.fromkeys(NOT_OF_THE_MACHINE), **model, **intake, **devnet, **ports, **changes}
    return Settings(loosh_home=home, api_host=LOOPBACK, **values)


def readiness(settings: Settings, dagster: DagsterApi) -> Mapping[str, Callable[[], bool]]:
    """What must be so before challenges are pushed, by name."""
    tables = Tables(settings.tables_root)
    return {
        "the ingress": lambda: _answers(f"http://{LOOPBACK}:{settings.api_port}/availability"),
        "the embedder": lambda: _answers(f"http://{LOOPBACK}:{settings.embedder_port}/health"),
        "Dagster": dagster.ready,
        "a metagraph snapshot": lambda: bool(tables.days("metagraph")),
    }


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
