"""A validator and a subnet in real processes, as `loosh up` and `loosh devnet` run them, to be measured.

The validator has the settings of the environment, as `loosh demo` takes them, but asks every miner; the schedules and
the sensors run as they always do. The devnet is a process of its own, with a data directory of its own: a chain with a
block every 12 seconds, miners that all answer after the same time with some 200 words of their own, and a Challenge
API. All times are of this machine's clock (CLOCK_REALTIME), which every process here shares.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from benchmarks import accounting
from benchmarks.figures import Load, show
from benchmarks.usage import cpu_by_service, cpu_s, service_of
from loosh_pipeline.devnet.subnet import PROMPT_PARAMETERS, DevnetInfo
from loosh_pipeline.domain import ChallengeId, ChallengeState, Outcome
from loosh_pipeline.errors import LooshError
from loosh_pipeline.local import devnet_process, local_settings, readiness
from loosh_pipeline.orchestrator import DagsterApi
from loosh_pipeline.processes import processes_of
from loosh_pipeline.services import services
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.supervisor import Supervisor, supervised

READY_WITHIN_S = 180.0
BLOCK_TIME_S = 12.0
LOOK_EVERY_S = 0.25
REST_S = 2.0
IDLE_CORES = 0.4
"""More than Dagster's daemon, web server and code server take when there is nothing to do."""
AT_REST_WITHIN_S = 180.0
STANDSTILL_S = 180.0
SCORED_SQL = """
SELECT partition, count(*) FROM event_logs
WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key = '["consensus_scores"]' GROUP BY partition
"""
"""A second scoring writes the files of the first again, so they do not show it."""
RECENT = 20
BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


class NotMeasured(LooshError):
    """Something did not come up or did not happen in time, so there is no figure."""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Post:
    """One challenge that was posted: when, and when what was answered. `turned_away`: times it was told to wait."""

    id: ChallengeId
    prompt: str
    posted_s: float
    answered_s: float
    turned_away: int = 0


@dataclass(frozen=True)
class Validator:
    """A running validator on a running devnet."""

    settings: Settings
    devnet: DevnetInfo
    ours: Supervisor
    subnet: Supervisor
    inbox: Inbox
    counters: Path
    load: Load
    said: list[str] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    """Of every challenge that was accepted."""
    given_up: set[str] = field(default_factory=set)
    """Challenges that are waited for no more."""
    named: str = "measured"
    """Ids of what is posted begin so."""

    def check(self) -> None:
        """Restart what died, as `loosh up` does. From the main thread only: processes die with the thread that
        started them.
        """
        self.ours.check()
        self.subnet.check()

    def until(self, what: str, is_so: Callable[[], bool], within_s: float) -> None:
        """Wait for something. Raises NotMeasured with the ends of all logs."""
        deadline_s = time.monotonic() + within_s
        while not is_so():
            self.check()
            if time.monotonic() > deadline_s:
                raise NotMeasured(f"{what}: not within {within_s:g} s\n{self.report()}")
            self.load.note()
            time.sleep(LOOK_EVERY_S)

    def report(self) -> str:
        """What is needed to see why something did not happen: the inbox, and the end of every log."""
        counts = ", ".join(f"{count} {state}" for state, count in self.inbox.stats().by_state.items() if count)
        rows = [f"{r.id} {r.state} attempts={r.attempts} failure={r.failure}" for r in self.inbox.recent(RECENT)]
        logs = sorted((self.settings.home / "logs").glob("*.log"))
        tails = [f"--- {log.stem}\n{self.ours.log_tail(log.stem, 30)}" for log in logs]
        return "\n".join([counts, *rows, *self.said, *tails, f"--- devnet\n{self.subnet.log_tail('devnet', 10)}"])

    async def post(self, http: httpx.AsyncClient) -> Post:
        """Post the next challenge, whose prompt nobody was asked before; again after a pause when told to wait.

        Raises NotMeasured for any other refusal.
        """
        number = len(self.posts)
        prompt = f"{self.devnet.prompts[number % len(self.devnet.prompts)]} (question {number})"
        post = Post(ChallengeId(f"{self.named}-{number:06d}"), prompt, time.time(), 0.0)
        body = {**PROMPT_PARAMETERS, "id": post.id, "prompt": prompt}
        self.posts.append(post)
        turned_away = 0
        while (answer := await http.post("/challenges", json=body)).status_code in BUSY:
            turned_away += 1
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
        if answer.status_code != httpx.codes.CREATED:
            raise NotMeasured(f"{post.id} was answered {answer.status_code} {answer.text}\n{self.report()}")
        self.posts[number] = replace(post, answered_s=time.time(), turned_away=turned_away)
        return self.posts[number]

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.settings.local_url, timeout=30.0, trust_env=False)

    def submitted(self) -> int:
        """Challenges of which the Challenge API was told."""
        return self.inbox.stats().by_state.get(ChallengeState.SUBMITTED, 0)

    def drained(self, each_time: Callable[[], object] = lambda: None, every_s: float = LOOK_EVERY_S) -> None:
        """Wait until everything that was accepted is delivered, or until nothing more was for `STANDSTILL_S`.

        What is missing then is given up, and not waited for again; the logs say why.
        """
        moved_s, before = time.monotonic(), -1
        while (delivered := self.submitted()) < len(self.posts) - len(self.given_up):
            each_time()
            self.check()
            self.load.note()
            if delivered != before:
                moved_s, before = time.monotonic(), delivered
            if time.monotonic() - moved_s > STANDSTILL_S:
                self.given_up.update(self.lost())
                say(f"{len(self.given_up)} are given up: none delivered in {STANDSTILL_S:g} s\n{self.report()}")
                return
            time.sleep(every_s)
        each_time()

    def lost(self) -> set[str]:
        """Challenges that were accepted and of which the Challenge API has no batch."""
        return {post.id for post in self.posts} - self.delivered().keys()

    def scorings(self) -> Counter[str]:
        """How often each challenge was scored, by Dagster's event log."""
        return scorings_of(self.settings.home / "dagster_home")

    def at_rest(self) -> None:
        """Wait until the validator does no more than it always does: pictures and narratives follow a delivery."""
        before_s, before_cpu_s = time.monotonic(), self.cpu_s()

        def is_idle() -> bool:
            nonlocal before_s, before_cpu_s
            if time.monotonic() - before_s < REST_S:
                return False
            now_s, now_cpu_s = time.monotonic(), self.cpu_s()
            share = (now_cpu_s - before_cpu_s) / (now_s - before_s)
            before_s, before_cpu_s = now_s, now_cpu_s
            return share < IDLE_CORES

        self.until("a validator at rest", is_idle, AT_REST_WITHIN_S)

    def delivered(self) -> dict[str, float]:
        """When the Challenge API had taken the batch of each challenge."""
        rows = _said(f"{self.devnet.challenge_api_url}/received")
        return {row["challenge_id"]: datetime.fromisoformat(row["received_at"]).timestamp() for row in rows}

    def told_twice(self) -> set[str]:
        """Challenges of which another batch came after the first."""
        return set(_said(f"{self.devnet.challenge_api_url}/record")["repeated_batches"])

    def asked(self) -> dict[str, list[float]]:
        """When the head of each request for a challenge had come to each miner, by prompt, earliest first."""
        found: dict[str, list[float]] = {}
        for miner in self.devnet.miners:
            for row in _said(f"http://127.0.0.1:{miner.port}/received"):
                found.setdefault(row["prompt"], []).append(row["received_at_s"])
        return {prompt: sorted(times) for prompt, times in found.items()}

    def responses(self, posts: Sequence[Post]) -> pl.DataFrame:
        """What was recorded of every miner asked those of these challenges that were delivered."""
        tables = Tables(self.settings.tables_root)
        delivered = self.delivered()
        rows = [self.inbox.get(post.id) for post in posts if post.id in delivered]
        frames = [tables.read("miner_responses", TableKey.of(row.id, row.received_at)) for row in rows]
        return pl.concat(frames)

    def cpu_s(self) -> float:
        """Seconds that all processes of the validator have spent so far."""
        return sum(cpu_by_service(service_of(processes_of(self.settings.home), self.ours.pids())).values())

    def devnet_cpu_s(self) -> float:
        """Seconds that the devnet has spent so far."""
        return sum(map(cpu_s, self.subnet.pids().values()))


def scorings_of(dagster_home: Path) -> Counter[str]:
    """How often the scores of each partition were materialized, by the event log of an instance."""
    log = dagster_home / "history" / "runs" / "index.db"
    with closing(sqlite3.connect(f"{log.as_uri()}?mode=ro", uri=True)) as connection:
        return Counter(dict(connection.execute(SCORED_SQL).fetchall()))


def answers_of(responses: pl.DataFrame) -> dict[str, float | int]:
    """How many were asked and answered, and with how many a handshake came first."""
    answered = responses.filter(pl.col("outcome") == Outcome.ANSWERED)
    shaken = responses["handshake_ms"].drop_nulls()
    median_ms = shaken.median()
    return {
        "asked": responses.height,
        "answered": answered.height,
        "words_mean": round(sum(len(text.split()) for text in answered["text"]) / max(answered.height, 1), 1),
        "handshakes": len(shaken),
        **({"handshake_p50_ms": round(median_ms, 1)} if isinstance(median_ms, float) else {}),
    }


def settings_of(settings: Settings) -> dict[str, Any]:
    """Those that the figures hang on, and that an environment may have changed."""
    names = ("max_concurrent_runs", "present", "embedder_backend", "embedder_threads", "scoring_profiles")
    return {name: getattr(settings, name) for name in names}


def _said(url: str) -> Any:
    return httpx.get(url, timeout=60.0, trust_env=False).raise_for_status().json()


@contextmanager
def running_validator(miners: int, delay_s: float) -> Iterator[Validator]:
    """Start everything in a temporary directory, wait until challenges can be pushed, and stop everything at the end.

    Raises NotMeasured, or what the supervisor raises, when something does not come up.
    """
    with (
        tempfile.TemporaryDirectory(prefix="loosh-benchmark-") as folder,
        running_subnet(Path(folder), miners, delay_s) as subnet,
        validator_on(subnet, Path(folder) / "validator") as validator,
    ):
        yield validator


@dataclass(frozen=True)
class Subnet:
    """A devnet that runs in `root`, and what was said of its processes."""

    root: Path
    devnet: DevnetInfo
    supervisor: Supervisor
    miners: int
    load: Load
    said: list[str] = field(default_factory=list)


@contextmanager
def running_subnet(root: Path, miners: int, delay_s: float) -> Iterator[Subnet]:
    """Start a devnet of miners that all answer after so long."""
    load, said = Load(), list[str]()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped like by Ctrl-C: nothing is left behind
    options = ["--behaviour", "steady", "--delay-s", f"{delay_s:g}", "--block-time-s", f"{BLOCK_TIME_S:g}"]
    with devnet_process(root / "subnet", said.append, miners=miners, options=options) as (devnet, subnet):
        yield Subnet(root, devnet, subnet, miners, load, said)


@contextmanager
def validator_on(subnet: Subnet, home: Path, named: str = "measured", **changes: Any) -> Iterator[Validator]:
    """Start a validator in `home`, whatever lies there, and wait until challenges can be pushed.

    Ids of what is posted begin with `named`. `changes`: of its settings. Raises NotMeasured, or what the supervisor
    raises, when something does not come up.
    """
    settings = local_settings(subnet.devnet, home, **{"max_miners": subnet.miners, **changes})
    counters = home.with_name(f"{home.name}-counters")
    counting = accounting.environment(counters)
    counted = [replace(each, env={**each.env, **counting}) for each in services(settings)]
    with supervised(counted, settings.home / "logs", subnet.said.append, READY_WITHIN_S) as ours:
        inbox = Inbox.open(settings.inbox_url)
        of_the_subnet = subnet.devnet, ours, subnet.supervisor
        validator = Validator(settings, *of_the_subnet, inbox, counters, subnet.load, subnet.said, named=named)
        _await_ready(validator)
        yield validator
        inbox.engine.dispose()


def _await_ready(validator: Validator) -> None:
    with closing(DagsterApi.at(f"http://127.0.0.1:{validator.settings.dagster_port}")) as dagster:
        for what, is_ready in readiness(validator.settings, dagster).items():
            validator.until(what, is_ready, READY_WITHIN_S)


def concluded(measure: Callable[[], dict[str, Any]], as_json: bool) -> int:
    """Measure, show the figures, and return the exit status: 0 when nothing was lost, scored twice or unanswered."""
    try:
        figures = measure()
    except LooshError as error:
        say(f"not measured: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    show(figures, as_json)
    harm = figures["lost"] or figures.get("scored_twice") or figures["answered"] != figures["asked"]
    return 1 if harm else 0
