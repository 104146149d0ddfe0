"""Asks Dagster to launch a run the moment a challenge is committed.

This only saves time: the sensor launches whatever is committed and not launched, so a lost launch costs seconds,
never a challenge. One worker thread keeps the order and never holds up a request.
"""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import suppress
from datetime import UTC, datetime

from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.orchestrator import DagsterApi, NoAnswer, OrchestratorError
from loosh_pipeline.store.inbox import Inbox

logger = logging.getLogger(__name__)

BACKLOG = 1000
STOP_WITHIN_S = 10.0


class Launcher:
    """Launches runs in the background; does nothing when no Dagster webserver is configured."""

    def __init__(self, inbox: Inbox, dagster_url: str | None) -> None:
        self._inbox = inbox
        self._api = DagsterApi.at(dagster_url) if dagster_url else None
        self._queue: queue.Queue[ChallengeId | None] = queue.Queue(BACKLOG)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="launcher", daemon=True)

    def start(self) -> None:
        if self._api:
            self._thread.start()

    def stop(self) -> None:
        """Finish the launch under way, if it takes no longer than STOP_WITHIN_S; the sensor does the rest."""
        if self._api is None:
            return
        self._stopping.set()
        with suppress(queue.Full):  # a full queue wakes the thread as well
            self._queue.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(STOP_WITHIN_S)
        self._api.close()

    def launch_soon(self, challenge_id: ChallengeId) -> None:
        """Ask for a run soon. With a full queue the sensor takes over."""
        if self._api is None:
            return
        try:
            self._queue.put_nowait(challenge_id)
        except queue.Full:
            logger.info("launch queue is full; the sensor will launch %s", challenge_id)

    def _work(self) -> None:
        while (challenge_id := self._queue.get()) is not None and not self._stopping.is_set():
            try:
                self._launch(challenge_id)
            except Exception:  # the thread must outlive any one launch; the sensor catches up
                logger.exception("could not launch %s; the sensor will", challenge_id)

    def _launch(self, challenge_id: ChallengeId) -> None:
        assert self._api is not None
        if not self._api.ready():
            return
        attempt = self._inbox.claim(challenge_id, datetime.now(UTC))
        if attempt is None:
            return
        try:
            self._api.launch_challenge(challenge_id, attempt)
        except NoAnswer as error:  # a second run now could ask every miner twice
            logger.warning("%s; when %s stalls, the sensor looks for its run", error, challenge_id)
        except OrchestratorError as error:
            logger.warning("%s; the sensor will launch %s", error, challenge_id)
            self._inbox.release(challenge_id, datetime.now(UTC), attempt=attempt)
