"""One fault: challenges before, during and after it, and what became of them."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import httpx
import polars as pl

from loosh_pipeline.devnet.subnet import PROMPT_PARAMETERS
from loosh_pipeline.domain import STATE_ORDER, ChallengeState
from loosh_pipeline.scoring.profile import RobustProfile
from loosh_pipeline.store.score_tables import PAIRS, SCORES, ScoreTables
from tests.faults.installation import Installation
from tests.faults.scores import SeenScores, scored_differently

RECOVERED_WITHIN_S = 120.0
GIVEN_UP_AFTER_S = 300.0
"""What comes later than it should is late; what has not come by then is lost."""
RUNS_END_WITHIN_S = 45.0
BETWEEN_CHALLENGES_S = 0.8
MOST_IN_FLIGHT = 12
UNFINISHED = ["QUEUED", "STARTING", "STARTED", "CANCELING"]

_RUNS = """
query ($filter: RunsFilter!) { runsOrError(filter: $filter) { __typename
  ... on Runs { results { runId status jobName } } } }"""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Verdict:
    """What a fault came to. Times in seconds."""

    fault: str
    lost: int
    scored_twice: int
    stuck: int
    recovery_s: float
    ok: bool
    in_flight: int
    challenges: int
    load: float

    def line(self) -> dict[str, object]:
        return asdict(self)


@dataclass
class Trial:
    """Pushes challenges around a fault, and judges."""

    fault: str
    validator: Installation
    struck_s: float | None = None
    in_flight: int = 0
    pushed: list[str] = field(default_factory=list)
    """Challenges of this trial that were accepted."""
    seen: SeenScores = field(init=False)

    def __post_init__(self) -> None:
        self.seen = SeenScores(self.validator.tables)

    def push(self, each_time: Callable[[], object] = lambda: None) -> None:
        """Push a challenge as the network does: again, until it is accepted. `each_time` is called in between."""
        challenge_id = self._new_id()
        deadline_s = time.monotonic() + RECOVERED_WITHIN_S
        said = ""
        while time.monotonic() < deadline_s:
            status, said = self._post(challenge_id)
            # 409: an answer was lost on its way, the challenge was not.
            if status in (httpx.codes.CREATED, httpx.codes.CONFLICT):
                self._note(challenge_id)
                return
            assert status in (0, httpx.codes.SERVICE_UNAVAILABLE), f"{status} {said}\n{self.validator.report()}"
            each_time()
            self.seen.look()
            time.sleep(0.2)
        raise AssertionError(f"nothing was accepted for {RECOVERED_WITHIN_S:g} s: {said}\n{self.validator.report()}")

    def try_once(self) -> tuple[int, str]:
        """One attempt to push a new challenge: status and body; status 0 when nobody answered."""
        challenge_id = self._new_id()
        status, said = self._post(challenge_id)
        if status == httpx.codes.CREATED:
            self._note(challenge_id)
        return status, said

    def _new_id(self) -> str:
        return f"{self.fault[:40]}-{next(_numbers)}-{os.urandom(3).hex()}"

    def _note(self, challenge_id: str) -> None:
        self.pushed.append(challenge_id)
        self.validator.accepted.append(challenge_id)

    def _post(self, challenge_id: str) -> tuple[int, str]:
        prompts = self.validator.devnet.prompts
        body = {**PROMPT_PARAMETERS, "id": challenge_id, "prompt": prompts[len(self.pushed) % len(prompts)]}
        try:
            answer = self.validator.http.post("/challenges", json=body)
        except httpx.TransportError as error:
            return 0, repr(error)
        return answer.status_code, answer.text

    def states(self) -> list[ChallengeState]:
        """How far the challenges of this trial are."""
        mine = set(self.pushed)
        return [row.state for row in self.validator.inbox.recent(len(self.validator.accepted) + 50) if row.id in mine]

    def fill(self) -> None:
        """Push until challenges wait for slow miners while others have their answers."""
        while len(self.pushed) < MOST_IN_FLIGHT:
            self.push()
            next_s = time.monotonic() + BETWEEN_CHALLENGES_S
            while time.monotonic() < next_s:
                if self._all_stages():
                    return
                time.sleep(0.02)
        self.validator.until("challenges at all stages", self._all_stages)

    def _all_stages(self) -> bool:
        ranks = [STATE_ORDER[state] for state in self.states()]
        asking = sum(rank == STATE_ORDER[ChallengeState.DISPATCHED] for rank in ranks)
        return asking >= 2 and any(rank >= STATE_ORDER[ChallengeState.COLLECTED] for rank in ranks)

    def strike(self) -> None:
        """The fault happens now, or a lasting one ends: the time of recovery runs from here."""
        self.seen.look()
        self.in_flight = sum(state is not ChallengeState.SUBMITTED for state in self.states())
        self.struck_s = time.monotonic()

    def verdict(self, each_time: Callable[[], object] = lambda: None) -> Verdict:
        """Wait until everything that was accepted is delivered and every run has ended; say what came of it.

        `each_time` is called while waiting.
        """
        assert self.struck_s is not None, "nothing happened yet"
        undelivered = self._undelivered()
        while undelivered and time.monotonic() - self.struck_s < GIVEN_UP_AFTER_S:
            each_time()
            self.seen.look()
            time.sleep(0.1)
            undelivered = self._undelivered()
        recovery_s = time.monotonic() - self.struck_s
        stuck = self._stuck(max(self.struck_s + RECOVERED_WITHIN_S, time.monotonic() + RUNS_END_WITHIN_S))
        told = self._told()
        lost = [each for each in self.validator.accepted if each in undelivered or each not in told]
        twice = self._scored_twice() + self._told_otherwise()
        return Verdict(
            fault=self.fault,
            lost=len(lost),
            scored_twice=twice,
            stuck=len(stuck),
            recovery_s=round(recovery_s, 1),
            ok=not lost and not twice and not stuck and recovery_s <= RECOVERED_WITHIN_S,
            in_flight=self.in_flight,
            challenges=len(self.pushed),
            load=round(os.getloadavg()[0], 2),
        )

    def _undelivered(self) -> set[str]:
        rows = self.validator.inbox.recent(len(self.validator.accepted) + 50)
        submitted = {row.id for row in rows if row.state is ChallengeState.SUBMITTED}
        return set(self.validator.accepted) - submitted

    def _told(self) -> set[str]:
        """Challenges that the Challenge API took a result of."""
        return {batch["challenge_id"] for batch in self._said("received")}

    def _told_otherwise(self) -> int:
        """Challenges of which the Challenge API was told another result after the first."""
        otherwise = self._said("record")["contradicting_batches"]
        return sum(each in otherwise for each in self.validator.accepted)

    def _said(self, page: str) -> Any:
        url = f"{self.validator.devnet.challenge_api_url}/{page}"
        return httpx.get(url, timeout=20.0, trust_env=False).raise_for_status().json()

    def _stuck(self, deadline_s: float) -> list[str]:
        """Runs that do not end; those that began meanwhile are given their time."""
        waited_for = self._unfinished()
        while waited_for and time.monotonic() < deadline_s:
            time.sleep(0.25)
            waited_for &= self._unfinished()
        return sorted(waited_for)

    def _unfinished(self) -> set[str]:
        body = {"query": _RUNS, "variables": {"filter": {"statuses": UNFINISHED}}}
        try:
            answer = self.validator.dagster.client.post(f"{self.validator.dagster.url}/graphql", json=body)
            answer.raise_for_status()
        except httpx.HTTPError:
            return {"Dagster does not answer"}
        return {run["runId"] for run in answer.json()["data"]["runsOrError"]["results"]}

    def _scored_twice(self) -> int:
        """Scores replaced by others, rows beyond one for each challenge, hotkey and scorer version, and rounds that
        weights count twice. The same scores, made again by the next run, are no second ones.
        """
        tables, by = self.validator.tables, ["challenge_id", "hotkey", "scorer_version"]
        scores = _rows(self.validator, SCORES)
        pairs = _rows(self.validator, PAIRS)
        repeated = scores.height - scores.select(by).unique().height
        repeated += pairs.height - pairs.unique().height
        self.seen.look()
        repeated += self.seen.changed() + scored_differently(self.validator.home / "dagster_home")
        since = datetime.now(UTC) - timedelta(days=2)
        with duckdb.connect() as connection:
            window = ScoreTables(tables).window_rows(connection, RobustProfile(), since, pairs=False).scores
        paid_for = ["challenge_id", "hotkey"]
        return repeated + window.height - window.select(paid_for).unique().height


def _rows(validator: Installation, asset: str) -> pl.DataFrame:
    """All rows of an asset's tables."""
    tables = validator.tables
    keys = [key for day in tables.days(asset) for key in tables.newest_first(asset, day) if key.day == day]
    frames = [tables.read(asset, key) for key in keys]
    none = pl.DataFrame(schema=dict.fromkeys(("challenge_id", "hotkey", "scorer_version"), pl.String))
    return pl.concat([none, *frames], how="diagonal_relaxed")
