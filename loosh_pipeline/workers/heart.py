"""A worker process telling the other machines, through the database, that it lives and which runs its children hold.

Only where workers may be on several machines. It asks nobody's leave: what the locked marks of this machine say is told
every few seconds, and what others want interrupted is interrupted. Cut off from the database, it ends the runs of this
machine before the others count it as gone: they will run those challenges again, and no miner is to be asked twice.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import uuid
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.settings import Settings
from loosh_pipeline.store.hosts import BEAT_S, CUT_OFF_S, Hosts, impatient_engine
from loosh_pipeline.workers.config import children, folder, marks
from loosh_pipeline.workers.holding import holder

logger = logging.getLogger(__name__)

NAME_FILE = "host"
FORGET_EVERY = 1000
"""So many beats apart, what left long ago is forgotten."""


def host_name(settings: Settings) -> str:
    """What this machine's workers are called among all: its name, and one that its data directory was given once."""
    path = folder(settings) / NAME_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        own = path.with_name(f".{NAME_FILE}-{uuid.uuid4().hex}")
        own.write_text(uuid.uuid4().hex[:8])
        with suppress(FileExistsError):  # another process of this machine was first
            os.link(own, path)
        own.unlink()
    return f"{socket.gethostname()[:100]}/{path.read_text().strip()[:16]}"


def shared_hosts(settings: Settings) -> Hosts | None:
    """Where workers tell what they execute; None where all are on this machine."""
    if not settings.spread or settings.database_url is None:
        return None
    return Hosts(impatient_engine(settings.database_url))


class Heart:
    """Beats for one queue's workers of this machine, in threads of their parent process."""

    def __init__(self, hosts: Hosts, host: str, queue: str, settings: Settings) -> None:
        self._hosts, self._host, self._queue = hosts, host, queue
        self._children = children(settings, queue)
        self._marks = marks(folder(settings), queue)
        self._beaten_s = time.monotonic()
        self._stopped = threading.Event()
        self._interrupted: set[str] = set()
        self._beats = 0

    def start(self) -> None:
        self._beaten_s = time.monotonic()
        for work in (self._beat_on, self._watch):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()

    def leave(self) -> None:
        """Say that this machine's workers of the queue end, if that can be said."""
        self._stopped.set()
        try:
            self._hosts.leave(self._host, self._queue)
        except SQLAlchemyError as error:
            logger.warning("the other machines could not be told that these workers end: %s", error)

    def beat(self) -> None:
        """Tell once. Raises SQLAlchemyError when the database does not answer."""
        told = self._hosts.told(self._host, self._queue)  # first: a run that is taken meanwhile is no business of ours
        held = self.held()
        begun_s = time.monotonic()
        wanted = self._hosts.beat(
            self._host, self._queue, self._children, held.keys(), [each for each in told if each not in held]
        )
        self._beaten_s = begun_s
        self._interrupt({run_id: held[run_id] for run_id in wanted if run_id in held})
        self._beats += 1
        if self._beats % FORGET_EVERY == 0:
            self._hosts.forget()

    def held(self) -> dict[str, int]:
        """The runs that live processes of this machine hold, and which each is."""
        found = ((path.name, holder(self._marks, path.name)) for path in self._marks.glob("*"))
        return {run_id: pid for run_id, pid in found if pid is not None}

    def end_runs_if_cut_off(self) -> int:
        """Kill what executes a run here when the database was not reached for too long; returns how many."""
        silent_s = time.monotonic() - self._beaten_s
        if silent_s < CUT_OFF_S or not (held := self.held()):
            return 0
        logger.error(
            "the database was not reached for %.0f s: %d runs of this machine end, and others follow elsewhere",
            silent_s,
            len(held),
        )
        for pid in held.values():
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(pid, signal.SIGKILL)
        return len(held)

    def _interrupt(self, wanted: dict[str, int]) -> None:
        """Each once: who is ending is left to it."""
        for run_id, pid in wanted.items():
            if run_id not in self._interrupted:
                logger.info("run %s is interrupted, as was asked for on another machine", run_id)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
        self._interrupted = set(wanted)

    def _beat_on(self) -> None:
        failing = False
        while not self._stopped.is_set():
            try:
                self.beat()
            except Exception as error:  # whatever it is, the next beat may do
                if not failing:
                    logger.warning("the other machines cannot be told what is executed here: %r", error)
                failing = True
            else:
                if failing:
                    logger.info("the other machines are told again what is executed here")
                failing = False
            self._stopped.wait(BEAT_S)

    def _watch(self) -> None:
        """Beside the beats, of which one may hang."""
        while not self._stopped.wait(1.0):
            self.end_runs_if_cut_off()
