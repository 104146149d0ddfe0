"""Celery's messages as files: no server to install, and nothing is lost when a process is killed.

    FOLDER/waiting/TIME-ID.QUEUE.json     written whole, then renamed into place
    FOLDER/claimed/…                      taken by the worker, until it acknowledges
    FOLDER/broken/…                       could not be read; kept to be looked at

Kombu's own file-system transport writes in place, so that a reader meets half a message, and deletes a message when
it is read, so that it dies with the process that read it. One worker process (with many children) serves a queue: what
its predecessor had claimed and not acknowledged it puts back at its start. Nothing is run twice by that: Dagster
ignores a second worker of the same run.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any, ClassVar

import kombu.transport
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from loosh_pipeline.settings import FILES_BROKER
from loosh_pipeline.workers.config import FOLDER_OPTION

logger = logging.getLogger(__name__)


SCHEME = FILES_BROKER.removesuffix("://")


class Channel(virtual.Channel):  # type: ignore[misc]
    """Puts, takes and acknowledges messages; bindings live in the process, as each declares what it uses."""

    do_restore = False  # what was not acknowledged lies in `claimed`, whichever way the process ends

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._claims: dict[str, Path] = {}
        folder = Path(connection.client.transport_options[FOLDER_OPTION])
        self._waiting, self._claimed, self._broken = (folder / name for name in ("waiting", "claimed", "broken"))
        for each in (self._waiting, self._claimed, self._broken):
            each.mkdir(parents=True, exist_ok=True)

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}.{queue}.json"
        temporary = self._waiting / f".{name}"
        with temporary.open("wb") as file:
            file.write(dumps(message).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._waiting / name)

    def _get(self, queue: str) -> dict[str, Any]:
        for name in self._names(queue):
            claimed = self._claimed / name
            try:
                (self._waiting / name).rename(claimed)
            except FileNotFoundError:
                continue  # another took it
            try:
                message: dict[str, Any] = loads(claimed.read_bytes())
                tag = message["properties"]["delivery_tag"]
            except (ValueError, KeyError, TypeError):
                logger.exception("message %s cannot be read; it is kept in %s", name, self._broken)
                claimed.rename(self._broken / name)
                continue
            self._claims[tag] = claimed
            return message
        raise Empty

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        self._forget(delivery_tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        super().basic_reject(delivery_tag, requeue)  # puts it again before the claim goes
        self._forget(delivery_tag)

    def _forget(self, delivery_tag: str) -> None:
        if claimed := self._claims.pop(delivery_tag, None):
            claimed.unlink(missing_ok=True)

    def _size(self, queue: str) -> int:
        return len(self._names(queue))

    def _purge(self, queue: str) -> int:
        names = self._names(queue)
        for name in names:
            (self._waiting / name).unlink(missing_ok=True)
        return len(names)

    def _names(self, queue: str) -> list[str]:
        """Files of the messages that wait, oldest first."""
        ending = f".{queue}.json"
        return sorted(name for name in os.listdir(self._waiting) if name.endswith(ending) and not name.startswith("."))


class Transport(virtual.Transport):  # type: ignore[misc]
    """`loosh-files://`, with the transport option `folder`.

    Works in Celery's event loop, for the sake of what Celery does then: every child has pipes of its own. Otherwise all
    read from one pipe, a lock around it, and a child that is killed while it waits takes the lock along for good.
    """

    Channel = Channel
    implements = virtual.Transport.implements.extend(asynchronous=True)
    default_port = 0
    driver_type = "filesystem"
    driver_name = SCHEME
    default_connection_params: ClassVar[dict[str, Any]] = {}
    """No host: kombu would warn that none was supplied."""

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Look for messages as often as the transport option `polling_interval` says (seconds)."""
        loop.call_repeatedly(self.polling_interval, self._take_what_waits)

    def _take_what_waits(self) -> None:
        with suppress(Empty):  # also when as many are taken as there are children
            while True:
                self.cycle.get(self._deliver)

    def driver_version(self) -> str:
        return "1"


def put_back(folder: Path, queue: str) -> int:
    """Let what was claimed and not acknowledged be taken again; for a queue's worker at its start. Returns how many.

    What other queues' workers have claimed is theirs: they are at it.
    """
    claimed = sorted((folder / "claimed").glob(f"*.{queue}.json"))
    for path in claimed:
        path.rename(folder / "waiting" / path.name)
    return len(claimed)


kombu.transport.TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
