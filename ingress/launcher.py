"""Has Dagster launch the runs of accepted challenges, at once while there is room.

The inbox is the queue: this thread takes from it what is due, oldest first, whenever a challenge was committed and
whenever a run has made room. Who comes alone is launched alone; what collects while a call is under way goes into one
call. It only saves time: the sensor launches whatever was due and not taken, so a lost launch costs seconds, never a
challenge. No request waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.orchestrator import DagsterApi, NoAnswer, NotReady, OrchestratorError
from loosh_pipeline.store.inbox import FIRST_RETRY_S, LONGEST_RETRY_S, Inbox, pause_s
from loosh_pipeline.store.runs import Claim, Runs

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 10
"""Dagster launches about five runs a second, one after the other: a longer call would hold up who comes meanwhile."""
POLL_S = 0.25
"""How soon room that a finished run made is seen, and a challenge whose pause is over."""
IDLE_POLL_S = 5.0
"""Without anything to wait for: whatever another process put back."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
STOP_WITHIN_S = 10.0


class Launcher:
    """Launches runs in the background; does nothing when no Dagster webserver is configured.

    `room`: how many challenges may be in flight. `free`: how many more processes of this machine could execute.
    `dispatched_s` hears how long each challenge waited for its first launch.
    """

    def __init__(
        self,
        inbox: Inbox,
        dagster_url: str | None,
        room: int,
        free: Callable[[], int],
        dispatched_s: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._dispatched_s = dispatched_s
        self._runs = Runs(inbox.engine)
        self._api = DagsterApi.at(dagster_url) if dagster_url else None
        self._room, self._free = room, free
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._ready = False
        self._failures = 0
        self._unsure: list[Claim] = []
        self._thread = threading.Thread(target=self._work, name="launcher", daemon=True)

    def start(self) -> None:
        if self._api:
            self._thread.start()

    def stop(self) -> None:
        """Finish the launch under way, if it takes no longer than STOP_WITHIN_S; the sensor does the rest."""
        if self._api is None:
            return
        self._stopping.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(STOP_WITHIN_S)
        self._api.close()

    def wake(self) -> None:
        """Something was committed: look at once, if there is room and Dagster answers."""
        self._news.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                wait_s, woken = self._look()
            except SQLAlchemyError as error:
                logger.warning("the inbox cannot be used to launch runs: %s", error)
                wait_s, woken = self._back_off(), False
            except Exception:  # the thread must outlive whatever the disk does; the sensor catches up
                logger.exception("could not launch runs; the sensor will")
                wait_s, woken = self._back_off(), False
            # While nothing could be launched anyway, no news wakes it: a flood of challenges costs nothing here.
            (self._news if woken else self._stopping).wait(wait_s)

    def _look(self) -> tuple[float, bool]:
        """Launch what is due; returns how long to wait then, and whether to be woken by what is committed."""
        assert self._api is not None
        now = datetime.now(UTC)
        if not self._unsure:
            queue = self._runs.queue(now)
            if not queue.due:
                busy = queue.in_flight > 0 or queue.waits
                return (POLL_S if busy else IDLE_POLL_S), True
            if queue.in_flight >= self._room or self._free() <= 0:
                return POLL_S, False
        if not (self._ready or self._api.ready()):
            if self._failures == 0:
                logger.warning("Dagster is not ready to launch runs; challenges wait until it is")
            return self._back_off(), False
        self._ready = True
        if not (self._make_sure(self._api) and self._launch_due(self._api)):
            return self._back_off(), False
        self._failures = 0
        return 0.0, True  # whether more is due, and fits, is seen at once

    def _launch_due(self, api: DagsterApi) -> bool:
        """Launch the oldest that are due, as many as fit; whether Dagster was there to do it."""
        claims = self._runs.claim(datetime.now(UTC), self._room, min(MOST_AT_ONCE, self._free()))
        return not claims or self._launch(api, claims)

    def _make_sure(self, api: DagsterApi) -> bool:
        """Give another attempt to launches that nobody answered and of which Dagster knows no run; whether it said.

        One that comes into being after all finds its challenge at a later attempt, and asks nobody.
        """
        if not self._unsure:
            return True
        try:
            there = api.launched({claim.id: claim.attempt for claim in self._unsure})
        except OrchestratorError as error:
            self._ready = False
            logger.warning("%s; whether there are runs of %s is not known yet", error, _names(self._unsure))
            return False
        for claim in self._unsure:
            if claim.id not in there:
                self._runs.postpone(claim, datetime.now(UTC))
        self._unsure = []
        return True

    def _launch(self, api: DagsterApi, claims: Sequence[Claim]) -> bool:
        """Have the runs of claims launched; whether Dagster was there to do it."""
        try:
            results = api.launch_challenges({claim.id: claim.attempt for claim in claims})
        except NoAnswer as error:  # a second run now could ask every miner twice
            self._ready = False
            self._unsure += claims
            logger.warning("%s; once it is there again, it is asked about the runs of %s", error, _names(claims))
            return False
        except OrchestratorError as error:
            results = [error] * len(claims)
        for claim, found in zip(claims, results, strict=True):
            if isinstance(found, str):
                self._launched(claim, found)
        failed = {claim: found for claim, found in zip(claims, results, strict=True) if not isinstance(found, str)}
        undone = [claim for claim, error in failed.items() if isinstance(error, NotReady)]
        if undone:
            self._undo(undone, failed[undone[0]])
        self._put_off({claim: error for claim, error in failed.items() if claim not in undone})
        return not undone

    def _launched(self, claim: Claim, run_id: str) -> None:
        about = {"challenge_id": claim.id, "run_id": run_id, "attempt": claim.attempt}
        logger.info("a run is launched", extra=about)
        if claim.attempt == 1 and claim.received_at is not None:
            self._dispatched_s(max(0.0, (datetime.now(UTC) - claim.received_at).total_seconds()))

    def _undo(self, claims: Sequence[Claim], error: OrchestratorError) -> None:
        """Nothing was launched: the challenges are as they were, for the sensor or a later look."""
        self._ready = False
        logger.warning("%s; %s not launched yet", error, _names(claims))
        self._runs.give_back(claims, datetime.now(UTC))

    def _put_off(self, refused: Mapping[Claim, OrchestratorError]) -> None:
        """Dagster refused these, and would do so again at once: each later each time."""
        for claim, error in refused.items():
            about = {"challenge_id": claim.id, "attempt": claim.attempt}
            logger.warning("%s; challenge %s is launched later", error, claim.id, extra=about)
            pause = timedelta(seconds=pause_s(claim.attempt, FIRST_RETRY_S, LONGEST_RETRY_S))
            self._runs.postpone(claim, datetime.now(UTC) + pause)

    def _back_off(self) -> float:
        self._failures += 1
        return pause_s(self._failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)


def _names(claims: Sequence[Claim]) -> str:
    return ", ".join(claim.id for claim in claims)
