"""One machine with everything, messages in files and its database on a server, and an ingress on another machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from bittensor_core import Keypair

from loosh_pipeline.devnet.subnet import PROMPT_PARAMETERS
from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.local import devnet_process, local_settings
from loosh_pipeline.store.hosts import Hosts
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.supervisor import supervised
from loosh_pipeline.wire.pushing import FiberSender
from tests.e2e.processes import of_nobody
from tests.machines.fleet import MINERS, READY_WITHIN_S, SETTINGS, _healthy, _up
from tests.postgres import new_database, running_postgres

pytestmark = [pytest.mark.e2e, pytest.mark.scale]

PUSHER = Keypair.create_from_uri("//loosh-tests//challenge-api")
CHALLENGES = 4


def test_both_ingresses_take_challenges_that_the_one_machine_evaluates(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(of_nobody(tmp_path))
        database = new_database(stack.enter_context(running_postgres()), "loosh")
        devnet, _ = stack.enter_context(
            devnet_process(tmp_path, print, miners=MINERS, options=("--behaviour", "steady"))
        )
        common = {**SETTINGS, "database_url": database, "intake_hotkeys": (PUSHER.ss58_address,)}
        for name in ("all", "ingress"):
            (tmp_path / name).mkdir()
        every = local_settings(devnet, tmp_path / "all", **common)
        elsewhere = {
            "loosh_services": ("ingress",),
            "tables_dir": every.tables_root,
            "heatmaps_dir": every.heatmaps_root,
            "dagster_url": every.own_dagster_url,
            "embedder_url": every.own_embedder_url,
        }
        ingress = local_settings(devnet, tmp_path / "ingress", **{**common, **elsewhere})
        wanted = [_up("all", every), _up("ingress", ingress)]
        stack.enter_context(supervised(wanted, tmp_path / "logs", print, READY_WITHIN_S))
        inbox = Inbox.open(database)
        stack.callback(inbox.engine.dispose)
        ports = [every.api_port, ingress.api_port]
        until(lambda: all(map(_healthy, ports)) and len(Hosts(inbox.engine).known()) == 2)
        asyncio.run(push(ports))
        until(lambda: sum(row.state is ChallengeState.SUBMITTED for row in inbox.recent(9)) == CHALLENGES)


async def push(ports: list[int]) -> None:
    async with httpx.AsyncClient(timeout=20.0, trust_env=False) as http:
        for number in range(CHALLENGES):
            sender = FiberSender(f"http://127.0.0.1:{ports[number % 2]}", PUSHER)
            pushed = await sender.send(http, {**PROMPT_PARAMETERS, "id": f"c-{number}", "prompt": f"{number}: why?"})
            assert pushed.status == httpx.codes.CREATED, pushed


def until(found: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while not found():
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
