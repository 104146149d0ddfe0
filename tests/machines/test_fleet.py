"""The proof: a validator on several machines, of which some die in the middle, and nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import polars as pl
import pytest
from bittensor_core import Keypair
from sqlalchemy import select

from loosh_pipeline.devnet.subnet import PROMPT_PARAMETERS
from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.orchestrator import WEIGHTS_JOB
from loosh_pipeline.store.schema import submissions
from loosh_pipeline.store.score_tables import SCORES
from loosh_pipeline.wire.pushing import FiberSender
from tests.e2e.processes import of_nobody
from tests.faults.scores import SeenScores
from tests.machines.fleet import MINERS, Fleet, running_fleet
from tests.machines.proxy import Proxy, running_proxy
from tests.postgres import running_postgres

pytestmark = [pytest.mark.e2e, pytest.mark.scale]

PUSHER = Keypair.create_from_uri("//loosh-tests//challenge-api")
CHALLENGES = 48
KILLED_AT, REDIS_AT = 16, 32
DONE_WITHIN_S = 180.0
TAKEN = (httpx.codes.CREATED, httpx.codes.CONFLICT)
"""409: an answer was lost on its way, the challenge was not."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    with of_nobody(home), running_postgres() as server, running_fleet(server, home, PUSHER) as fleet:
        yield fleet


def test_machines_die_and_every_challenge_is_scored_and_told_once(fleet: Fleet) -> None:
    seen = SeenScores(fleet.tables)
    with running_proxy([fleet.settings[name].api_port for name in ("ingress-1", "ingress-2")]) as proxy:
        interrupted = asyncio.run(push_all(fleet, proxy, seen))
    assert len(interrupted) >= 2, "runs were in flight on the machine that died"
    assert min(proxy.passed.values()) >= 10, "both ingresses were pushed to"
    wanted = {name(number) for number in range(CHALLENGES)}

    def all_told() -> bool:
        seen.look()
        return submitted(fleet) >= wanted

    fleet.until("every challenge is told", all_told, DONE_WITHIN_S)
    told_once(fleet, wanted)
    scored_once(fleet, wanted, seen)
    asked_once(fleet, wanted, interrupted)
    weights_are_set_once(fleet)


def name(number: int) -> str:
    return f"fleet-{number:03}"


async def push_all(fleet: Fleet, proxy: Proxy, seen: SeenScores) -> set[str]:
    """Push every challenge, encrypted, each request over a connection of its own; machines die meanwhile.

    Returns the challenges that were in flight on the machine that died.
    """
    url, interrupted = f"http://127.0.0.1:{proxy.port}", set[str]()
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=20.0, limits=limits, trust_env=False) as http:
        for number in range(CHALLENGES):
            if number == KILLED_AT:
                interrupted = machines_die(fleet)
            if number == REDIS_AT:
                fleet.restart_redis()
            # A sender of its own for each: the key exchange and the challenge come to different ingresses.
            sender = FiberSender(url, PUSHER)
            await push(sender, http, fleet, number)
            fleet.redis.check()
            seen.look()
    return interrupted


async def push(sender: FiberSender, http: httpx.AsyncClient, fleet: Fleet, number: int) -> None:
    challenge = {**PROMPT_PARAMETERS, "id": name(number), "prompt": f"{name(number)}: what holds a bridge up?"}
    deadline_s = time.monotonic() + 60.0
    while (pushed := await sender.send(http, challenge)).status not in TAKEN:
        assert time.monotonic() < deadline_s, f"{pushed}\n{fleet.report()}"
        fleet.redis.check()
        await asyncio.sleep(0.2)


def machines_die(fleet: Fleet) -> set[str]:
    """One machine of workers, with runs in flight, and one ingress."""

    marks = fleet.settings["worker-2"].home / "celery" / "running" / "dagster"

    def asking_there() -> set[str]:
        """Challenges whose run a process of that machine holds, and has begun to ask miners."""
        runs = {path.name for path in marks.glob("*")}
        return {str(row.id) for row in fleet.inbox.recent(CHALLENGES) if row.run_id in runs and row.scored_at is None}

    fleet.until("runs on the machine that will die", lambda: len(asking_there()) >= 2, 60.0)
    assert fleet.kill_machine("worker-2") > 4
    assert fleet.kill_machine("ingress-2") >= 2
    return asking_there()


def submitted(fleet: Fleet) -> set[str]:
    return {str(row.id) for row in fleet.inbox.recent(CHALLENGES + 5) if row.state is ChallengeState.SUBMITTED}


def told_once(fleet: Fleet, wanted: set[str]) -> None:
    """The Challenge API has one result of each, and was never told another."""
    api = fleet.devnet.challenge_api_url
    received = httpx.get(f"{api}/received", trust_env=False).raise_for_status().json()
    record = httpx.get(f"{api}/record", trust_env=False).raise_for_status().json()
    assert Counter(batch["challenge_id"] for batch in received) == dict.fromkeys(wanted, 1)
    assert record["contradicting_batches"] == {}


def scored_once(fleet: Fleet, wanted: set[str], seen: SeenScores) -> None:
    """One row for each challenge, miner and scorer version, and no scores that were replaced by others."""
    days = fleet.tables.days(SCORES)
    keys = [key for day in days for key in fleet.tables.newest_first(SCORES, day) if key.day == day]
    rows = pl.concat([fleet.tables.read(SCORES, key) for key in keys], how="diagonal_relaxed")
    by = ["challenge_id", "hotkey", "scorer_version"]
    assert rows.height == rows.select(by).unique().height
    assert set(rows["challenge_id"]) == wanted
    assert seen.changed() == 0


def asked_once(fleet: Fleet, wanted: set[str], interrupted: set[str]) -> None:
    """Nobody was asked twice but for challenges whose run died while it asked; those at most twice."""
    for miner in fleet.devnet.miners:
        received = httpx.get(f"http://127.0.0.1:{miner.port}/received", trust_env=False).raise_for_status().json()
        asked = Counter(each["prompt"].partition(":")[0] for each in received)
        assert set(asked) == wanted, fleet.report()
        twice = {challenge for challenge, count in asked.items() if count > 1}
        assert twice <= interrupted, fleet.report()
        assert max(asked.values()) <= 2
    assert len(fleet.devnet.miners) == MINERS


def weights_are_set_once(fleet: Fleet) -> None:
    """By the machine of workers that is left."""
    run = fleet.dagster.launch(WEIGHTS_JOB, {})
    ended = ("SUCCESS", "FAILURE", "CANCELED")
    fleet.until("the job of weights ends", lambda: fleet.dagster.run_status(run) in ended)
    assert fleet.dagster.run_status(run) == "SUCCESS", fleet.report()
    with fleet.inbox.engine.connect() as connection:
        states = list(connection.execute(select(submissions.c.state)).scalars())
    assert states == ["observed"], fleet.report()
