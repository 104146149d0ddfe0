"""A devnet and a validator in real processes, as an operator runs them, and how tests wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from loosh_pipeline.devnet.subnet import PROMPT_PARAMETERS, DevnetInfo
from loosh_pipeline.domain import ChallengeId, ChallengeState
from loosh_pipeline.local import devnet_process, local_settings, readiness
from loosh_pipeline.log_files import LogFiles
from loosh_pipeline.orchestrator import DagsterApi
from loosh_pipeline.run_state import RunState
from loosh_pipeline.running import log_form
from loosh_pipeline.services import services
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox, InboxRow
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.supervisor import Supervisor, supervised

MINERS = 5
READY_WITHIN_S = 180.0
DONE_WITHIN_S = 180.0
SETTINGS = {
    "stalled_after_s": 2.0,
    "challenge_timeout_s": 30.0,
    # Only the test sets weights, and one snapshot and one look for the miners are enough: fewer runs compete for two
    # cores.
    "weights_min_rounds": 10_000,
    "weights_min_evidence_rounds": 1,
    "metagraph_refresh_s": 3600.0,
    "availability_refresh_s": 3600.0,
    "network_view_refresh_s": 86400.0,
}

T = TypeVar("T")
Change = Callable[[DevnetInfo], Mapping[str, Any]]


@dataclass(frozen=True)
class Validator:
    """A running validator on a running devnet."""

    settings: Settings
    devnet: DevnetInfo
    supervisors: tuple[Supervisor, ...]
    said: list[str]
    inbox: Inbox
    tables: Tables
    http: httpx.Client
    dagster: DagsterApi

    def until(self, what: str, found: Callable[[], T | None], within_s: float = DONE_WITHIN_S) -> T:
        """Wait for something, restarting what dies as `loosh up` does. Fails with the ends of all logs."""
        deadline_s = time.monotonic() + within_s
        while not (value := found()):
            for supervisor in self.supervisors:
                supervisor.check()
            if time.monotonic() > deadline_s:
                raise AssertionError(f"{what}: not within {within_s:g} s\n{self.report()}")
            time.sleep(0.1)
        return value

    def report(self) -> str:
        """What is needed to see why something did not happen: the inbox, and the end of every log."""
        rows = [f"{r.id} {r.state} attempts={r.attempts} failure={r.failure}" for r in self.inbox.recent(20)]
        logs = sorted((self.settings.home / "logs").glob("*.log"))
        tails = [f"--- {log.stem}\n{self.supervisors[0].log_tail(log.stem, 30)}" for log in logs]
        return "\n".join([*rows, *self.said, *tails])

    def post(self, challenge_id: str, prompt: int = 0) -> httpx.Response:
        """Post a challenge with one of the prompts that the miners know."""
        body = {**PROMPT_PARAMETERS, "id": challenge_id, "prompt": self.devnet.prompts[prompt]}
        return self.http.post("/challenges", json=body)

    def accept(self, challenge_id: str, prompt: int = 0) -> ChallengeId:
        answer = self.post(challenge_id, prompt)
        assert answer.status_code == httpx.codes.CREATED, f"{answer.status_code} {answer.text}\n{self.report()}"
        return ChallengeId(challenge_id)

    def reaches(self, challenge_id: ChallengeId, state: ChallengeState) -> InboxRow:
        def row() -> InboxRow | None:
            current = self.inbox.get(challenge_id)
            return current if current.state is state else None

        return self.until(f"challenge {challenge_id} is {state}", row)

    def answers(self) -> bool:
        """Whether the ingress answers."""
        try:
            return self.http.get("/availability").is_success
        except httpx.TransportError:
            return False

    def batches(self) -> dict[str, dict[str, Any]]:
        """What the Challenge API of the devnet was told, by challenge."""
        received = httpx.get(f"{self.devnet.challenge_api_url}/received", trust_env=False).raise_for_status().json()
        return {batch["challenge_id"]: batch["payload"] for batch in received}


@contextmanager
def running_validator(home: Path, change: Change = lambda _: {}) -> Iterator[Validator]:
    """Start everything in `home`, wait until runs can be launched, and stop everything at the end.

    `change` gives settings of its own, by those of the devnet.
    """
    said: list[str] = []
    with devnet_process(home, said.append, miners=MINERS) as (devnet, subnet):
        settings = local_settings(devnet, home, **{**SETTINGS, **change(devnet)})
        files = LogFiles(home / "logs", said.append, log_form(settings))
        with supervised(services(settings), home / "logs", said.append, READY_WITHIN_S, files=files) as ours:
            RunState(settings.home, ours).keep()
            yield from _opened(settings, devnet, (ours, subnet), said)


def _opened(
    settings: Settings, devnet: DevnetInfo, supervisors: tuple[Supervisor, ...], said: list[str]
) -> Iterator[Validator]:
    inbox, tables = Inbox.open(settings.inbox_url), Tables(settings.tables_root)
    with (
        closing(DagsterApi.at(f"http://127.0.0.1:{settings.dagster_port}")) as dagster,
        httpx.Client(base_url=settings.ingress_url, timeout=20.0, trust_env=False) as http,
    ):
        validator = Validator(settings, devnet, supervisors, said, inbox, tables, http, dagster)
        for what, is_ready in readiness(settings, dagster).items():
            validator.until(what, is_ready, READY_WITHIN_S)
        validator.until("a look for the miners", lambda: bool(tables.days("miner_availability")), READY_WITHIN_S)
        yield validator
    inbox.engine.dispose()
