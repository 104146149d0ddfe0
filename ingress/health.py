"""Whether this validator does its work: what the network is told, and what intake depends on.

A thread looks every second, so that no request waits for a probe. Each reason says what to look at.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.domain import ChallengeState
from loosh_pipeline.embedding.address import api_root, http_client
from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.nonces import Nonces
from loosh_pipeline.store.probe import check_writable
from loosh_pipeline.store.tables import Tables

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
STORE_EVERY_S = 1.0
TABLES_EVERY_S = 5.0
EMBEDDER_EVERY_S = 2.0
EMBEDDER_ANSWERS_WITHIN_S = 2.0
EMBEDDER_MAY_RESTART_S = 10.0
CHAIN_EVERY_S = 5.0
NONCES_EVERY_S = 60.0
FRESH_S = 0.25
STALE_AFTER_S = 60.0
FIRST_SEEN_WITHIN_S = 600.0
"""A validator that just started has not seen the chain yet, and may be asked all the same."""
METAGRAPHS_MISSED = 3.0
STOPPED = "stopped by an operator with /set_running"
"""The one reason with which a container still counts as healthy (docker/healthcheck.py)."""

Reason = str | None


@dataclass(frozen=True, slots=True)
class Condition:
    """How things stood at `at_s` (monotonic). `accepted` is how many this process had taken by then.

    Of the challenges that are `waiting` for their scores, `active` ones are being evaluated.
    """

    running: bool
    reasons: tuple[str, ...]
    waiting: int
    active: int
    accepted: int
    at_s: float


class _Rarely:
    """A probe that is asked at most every `every_s` seconds; what goes wrong in it is its reason.

    Strangers read reasons, so paths and addresses stand in the log alone. `telling`: errors that name none.
    """

    def __init__(
        self, what: str, every_s: float, probe: Callable[[], Reason], telling: tuple[type[Exception], ...] = ()
    ) -> None:
        self._what = what
        self._every_s = every_s
        self._probe = probe
        self._telling = telling
        self._asked_s = float("-inf")
        self._said: Reason = None

    def __call__(self, no_older_than_s: float = float("inf")) -> Reason:
        if time.monotonic() - self._asked_s >= min(self._every_s, no_older_than_s):
            before = self._said
            try:
                self._said = self._probe()
            except self._telling as error:
                self._said = str(error)
                if self._said != before:
                    logger.warning("%s (%s)", error, error.__cause__)
            except Exception as error:  # a probe that fails is no good news either
                self._said = f"{self._what} ({type(error).__name__})"
                if self._said != before:
                    logger.warning("%s", self._said, exc_info=True)
            self._asked_s = time.monotonic()
        return self._said


class Health:
    """The condition of one validator, from its own stores and neighbours."""

    def __init__(self, settings: Settings, inbox: Inbox, tables: Tables) -> None:
        self._settings = settings
        self._inbox = inbox
        self._tables = tables
        self._nonces = Nonces(inbox.engine)
        self._embedder = _Embedder(settings)
        self._started_s = time.monotonic()
        self._probes = (
            _Rarely("the store cannot be written", STORE_EVERY_S, self._store, (StoreError,)),
            _Rarely("the tables cannot be written", TABLES_EVERY_S, self._tables_writable, (StoreError,)),
            _Rarely("the inbox cannot be read", 0.0, self._consumer),
            _Rarely("the embedder is not ready", EMBEDDER_EVERY_S, self._embedder.reason),
            _Rarely("the chain's snapshots cannot be read", CHAIN_EVERY_S, self._chain),
        )
        self._forget = _Rarely("used nonces cannot be forgotten", NONCES_EVERY_S, self._forget_nonces)
        self._looking = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="health", daemon=True)
        self._asked: asyncio.Future[Condition] | None = None
        self._asked_s = float("-inf")
        self.accepted = 0
        self._wrote_s = float("-inf")
        self.condition = self.look()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(EMBEDDER_ANSWERS_WITHIN_S + 1.0)
        self._embedder.close()

    def look(self, no_older_than_s: float = float("inf")) -> Condition:
        """How things stand now. Slow probes are asked now and then, the inbox each time. Blocks for up to seconds."""
        with self._looking:
            accepted = self.accepted
            reasons = [reason for probe in self._probes if (reason := probe(no_older_than_s)) is not None]
            try:
                running, waiting = self._inbox.is_running(), self._inbox.waiting()
            except SQLAlchemyError as error:
                reasons.append(f"the inbox cannot be read ({type(error).__name__})")
                running, waiting = True, {}
            if not running:
                reasons.insert(0, STOPPED)
            total = sum(waiting.values())
            active = total - waiting.get(ChallengeState.RECEIVED, 0)
            self.condition = Condition(running, tuple(reasons), total, active, accepted, time.monotonic())
            return self.condition

    async def look_again(self) -> Condition:
        """A condition of which no part is older than a moment, without blocking the event loop.

        Many askers share one look.
        """
        if self._asked is None or (self._asked.done() and time.monotonic() - self._asked_s >= FRESH_S):
            self._asked_s = time.monotonic()
            self._asked = asyncio.ensure_future(asyncio.to_thread(self.look, FRESH_S))
        return await asyncio.shield(self._asked)

    def reasons(self) -> tuple[str, ...]:
        """Why no challenge is taken; empty when all is well."""
        age_s = time.monotonic() - self.condition.at_s
        if age_s > STALE_AFTER_S:
            return (f"nobody could look at this validator's health for {age_s:.0f} s; are disk and tables reachable?",)
        return self.condition.reasons

    def waiting(self) -> int:
        """Challenges without scores: those of the last look, and what was taken since."""
        return self.condition.waiting + self.accepted - self.condition.accepted

    def _work(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                self.look()
                if reason := self._forget():
                    logger.warning(reason)
            except Exception:  # it looks again in a second; meanwhile the condition grows stale
                logger.exception("looking at the validator's health failed")

    def _forget_nonces(self) -> Reason:
        self._nonces.forget(datetime.now(UTC))
        return None

    def took_one(self) -> None:
        """Note that a challenge was committed."""
        self.accepted += 1
        self._wrote_s = time.monotonic()

    def _store(self) -> Reason:
        if time.monotonic() - self._wrote_s < STORE_EVERY_S:
            return None  # and a probe would wait for its turn behind those who write
        check_writable(self._inbox.engine, datetime.now(UTC))
        return None

    def _tables_writable(self) -> Reason:
        self._tables.check_writable()
        return None

    def _consumer(self) -> Reason:
        now = datetime.now(UTC)
        due_since = self._inbox.oldest_waiting()
        bound = timedelta(seconds=self._settings.unconsumed_after_s)
        if due_since is None or now - due_since <= bound or self._inbox.moved_since(now - bound):
            return None
        late_s = (now - due_since).total_seconds()
        return f"a challenge has waited {late_s:.0f} s for its run; are Dagster, the workers and their broker up?"

    def _chain(self) -> Reason:
        newest = next(self._tables.newest_first("metagraph"), None)
        if newest is None:
            waited_s = time.monotonic() - self._started_s
            early = waited_s < FIRST_SEEN_WITHIN_S
            return None if early else f"the chain was not seen since the start {waited_s:.0f} s ago"
        seen = datetime.strptime(newest.name.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
        age_s = (datetime.now(UTC) - seen).total_seconds()
        bound_s = max(self._settings.chain_unseen_after_s, METAGRAPHS_MISSED * self._settings.metagraph_refresh_s)
        late = age_s > bound_s
        return f"the chain was last seen {age_s:.0f} s ago; is SUBTENSOR_ADDRESS reachable?" if late else None


class _Embedder:
    """Whether the embedding server has its model; nothing is asked when runs embed in their own process."""

    def __init__(self, settings: Settings) -> None:
        url = settings.embedding_url or (str(settings.embedder_url) if settings.embedder_url else None)
        self._shown = url
        self._url = url and api_root(url) + "/models"
        key = settings.embedding_api_key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._http = http_client(url or "", EMBEDDER_ANSWERS_WITHIN_S, headers)
        self._ready_s = float("-inf")
        self._told = False

    def close(self) -> None:
        self._http.close()

    def reason(self) -> Reason:
        """None while it is ready, or was a moment ago: a restart takes seconds, and runs wait for it."""
        if self._url is None:
            return None
        wrong = self._wrong(self._url)
        if wrong is None:
            self._ready_s = time.monotonic()
            self._told = False
        elif time.monotonic() - self._ready_s > EMBEDDER_MAY_RESTART_S:
            if not self._told:
                logger.warning("the embedder is not ready: %s %s", self._shown, wrong)
            self._told = True
            return f"the embedder is not ready: it {wrong}"
        return None

    def _wrong(self, url: str) -> Reason:
        try:
            with self._http.stream("GET", url) as reply:
                status = reply.status_code
        except (httpx.HTTPError, OSError) as error:
            return f"cannot be reached ({type(error).__name__})"
        # Some servers list no models, and are asked for one all the same.
        return None if status in (httpx.codes.OK, httpx.codes.NOT_FOUND) else f"answers HTTP {status}"
