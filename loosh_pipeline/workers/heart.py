"""A worker process telling the other machines, through the database, that it lives and which runs its children hold.

Only where workers may be on several machines. A run is told of by whoever takes it; every few seconds its host says
that it lives, and which runs are over, and what others want interrupted is interrupted. Cut off from the database, or
silent for long by the database's clock, it ends the runs of this machine before the others count it as gone: they will
run those challenges again, and no miner is to be asked twice.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.hosts import (
    BEAT_S,
    CUT_OFF_S,
    HEARD_WITHIN_S,
    Hosts,
    Replaced,
    Speaker,
    WasSilent,
    impatient_engine,
)
from loosh_pipeline.store.shared_places import mark_in, name_file, own_name
from loosh_pipeline.workers.config import children, folder, marks
from loosh_pipeline.workers.holding import holder

logger = logging.getLogger(__name__)

Places = Collection[tuple[Path, str]]
"""Directories that all machines share, and the mark in each."""
ADOPTED_AFTER_S = 3 * BEAT_S
"""An earlier process of this machine that was killed says nothing for that long; one that lives elsewhere does."""
KILLED_WITHIN_S = 2.0
LOOKS_EVERY_S = 10.0
FORGET_EVERY = 1000
"""So many beats apart, what left long ago is forgotten."""


def host_name(settings: Settings) -> str:
    """What this machine's workers are called among all: its name, and that of its data directory."""
    return f"{socket.gethostname()[:100]}/{own_name(settings)}"


def shared_hosts(settings: Settings, *, forks: bool = True) -> Hosts | None:
    """Where workers tell what they execute; None where all are on this machine. `forks`: the caller's process does."""
    if not settings.spread or settings.database_url is None:
        return None
    return Hosts(impatient_engine(settings.database_url, forks=forks))


def incarnation_file(settings: Settings, queue: str) -> Path:
    """Where the process that speaks for this data directory says which one it is."""
    return name_file(settings).with_name(f"host-{queue}")


def copied(settings: Settings, host: str) -> str:
    """What is wrong where another process speaks under a host's name."""
    return (
        f"another machine speaks as {host}: this data directory was copied while its workers' name stood in it. On one "
        f"of the two, stop `loosh up`, delete {name_file(settings)}, and start it again"
    )


class Heart:
    """Beats for one queue's workers of this machine, in threads of their parent process.

    `end` ends that process with all that it has forked, and says why: it takes no messages then, until it was started
    again and the database answered.
    """

    def __init__(
        self, hosts: Hosts, host: str, queue: str, settings: Settings, end: Callable[[str], object], places: Places = ()
    ) -> None:
        self._hosts, self._settings, self._end = hosts, settings, end
        self._me = Speaker(host, queue, uuid.uuid4().hex)
        self._children = children(settings, queue)
        self._marks = marks(folder(settings), queue)
        self._places = places
        self._beaten_s = time.monotonic()
        self._stopped = threading.Event()
        self._interrupted: frozenset[str] = frozenset()
        self._beats = 0

    def adopt(self) -> None:
        """Take this host's name over from an earlier process of this machine, before any message is taken.

        Raises StoreError when that lives elsewhere, and SQLAlchemyError when the database does not answer.
        """
        incarnation_file(self._settings, self._me.queue).write_text(self._me.incarnation)
        before = self._hosts.spoke(self._me.host, self._me.queue)
        if before is not None and before.silent_s < HEARD_WITHIN_S:
            time.sleep(ADOPTED_AFTER_S)
            after = self._hosts.spoke(self._me.host, self._me.queue)
            if after is not None and after.seen_at != before.seen_at:
                raise StoreError(copied(self._settings, self._me.host))
        try:
            self._hosts.beat(self._me, 0, held := self.held(), adopt=True)
        except WasSilent as silent:  # processes of a killed parent still execute what it had taken
            self._kill(held, str(silent))
            self._hosts.beat(self._me, 0, (), adopt=True)

    def start(self) -> None:
        """Celery is ready and has executed nothing yet: begin to beat."""
        self._beaten_s = time.monotonic()
        self.beat()
        for work in (self._beat_on, self._watch, self._look_around):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()

    def leave(self) -> None:
        """Say that this machine's workers of the queue end, if that can be said."""
        self._stopped.set()
        try:
            self._hosts.leave(self._me)
        except SQLAlchemyError as error:
            logger.warning("the other machines could not be told that these workers end: %s", error)

    def beat(self) -> None:
        """Tell once. Raises SQLAlchemyError when the database does not answer."""
        told = self._hosts.told(self._me.host, self._me.queue)  # first: what is taken meanwhile is held
        held = self.held()
        begun_s = time.monotonic()
        over = {run_id: taken_at for run_id, taken_at in told.items() if run_id not in held}
        try:
            heard = self._hosts.beat(self._me, self._children, held.keys(), over)
        except WasSilent as silent:
            self._kill(held, str(silent))
            return
        except Replaced:
            self._kill(held, "another process speaks for this machine")
            self._end(copied(self._settings, self._me.host))
            return
        self._beaten_s = begun_s
        self._kill({run_id: held[run_id] for run_id in heard.lost}, "another machine executes them by now")
        self._interrupt({run_id: held[run_id] for run_id in heard.wanted})
        self._beats += 1
        if self._beats % FORGET_EVERY == 0:
            self._hosts.forget()

    def held(self) -> dict[str, int]:
        """The runs that live processes of this machine hold, and which each is."""
        found = ((path.name, holder(self._marks, path.name)) for path in self._marks.glob("*"))
        return {run_id: pid for run_id, pid in found if pid is not None}

    def end_if_cut_off(self) -> bool:
        """Kill what executes a run here, and end, when the database was not reached for too long."""
        silent_s = time.monotonic() - self._beaten_s
        if silent_s < CUT_OFF_S:
            return False
        why = f"the database was not reached for {silent_s:.0f} s"
        self._kill(self.held(), why)
        self._end(f"{why}: these workers end, and start again when it answers")
        return True

    def end_if_elsewhere(self) -> bool:
        """The same when a directory that all machines share is there no longer."""
        for directory, mark in self._places:
            try:
                found = mark_in(directory)
            except OSError as error:
                found = f"error {error.errno}"
            if found != mark:
                why = f"{directory} is not the directory of the other machines any more; is it mounted?"
                self._kill(self.held(), why)
                self._end(why)
                return True
        return False

    def _kill(self, held: Mapping[str, int], why: str) -> None:
        """Before others execute it too."""
        if held:
            logger.error("%s: %d runs of this machine end, and others follow elsewhere", why, len(held))
        for pid in held.values():
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(pid, signal.SIGKILL)
        until_s = time.monotonic() + KILLED_WITHIN_S
        while self.held().keys() & held.keys() and time.monotonic() < until_s:
            time.sleep(0.01)

    def _interrupt(self, wanted: Mapping[str, int]) -> None:
        """Each once: who is ending is left to it."""
        for run_id, pid in wanted.items():
            if run_id not in self._interrupted:
                logger.info("run %s is interrupted, as was asked for on another machine", run_id)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
        self._interrupted = frozenset(wanted)

    def _beat_on(self) -> None:
        failing = False
        while not self._stopped.wait(BEAT_S):
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

    def _watch(self) -> None:
        """Beside the beats, of which one may hang."""
        while not self._stopped.wait(1.0) and not self.end_if_cut_off():
            pass

    def _look_around(self) -> None:
        """Beside both: a server of files that is away lets whoever looks wait."""
        while not self._stopped.wait(LOOKS_EVERY_S) and not self.end_if_elsewhere():
            pass
