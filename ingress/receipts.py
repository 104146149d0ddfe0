"""Receipts for the operator's pages: made one at a time, beside the event loop and everything that takes challenges."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from fastapi import HTTPException, status
from sqlalchemy import Engine

from ingress.epochs import Epochs
from ingress.pages.threads import in_own_thread
from loosh_pipeline.audit.epochs import LATEST, EpochTables, read_backs
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import Canaries
from loosh_pipeline.store.tables import Tables

logger = logging.getLogger(__name__)

KEPT = 64
"""Receipts that are remembered; one is some 100 KB."""
WAITING = 4
"""Who may wait for a receipt at once; others are told to come back."""
MADE_WITHIN_S = 120.0
ENDED_WITHIN_S = 5.0
"""How long a process that was killed is waited for."""
UP = "../../"
"""From the address of a receipt to the root of the ingress."""
MEMORY = ", as the system does when memory runs out"
COMMAND = (sys.executable, "-m", "loosh_pipeline.audit.process")


Key = tuple[int, Hotkey, str, bool]
"""Of a receipt: the epoch, the miner, what was seen of the weights on the chain, and whether it names rounds."""


class Receipts:
    """Receipts as parts of pages, kept for as long as nothing more of their epoch was seen on the chain."""

    def __init__(self, settings: Settings, inbox: Engine, tables: Tables, epochs: Epochs) -> None:
        self._settings, self._canaries, self._tables, self._epochs = settings, Canaries(inbox), tables, epochs
        self._one = asyncio.Lock()
        self._waiting = 0
        self._bodies: OrderedDict[Key, str] = OrderedDict()

    async def body(self, miner: str, epoch: str = LATEST) -> str:
        """The receipt of one miner. Raises HTTPException for an unknown miner or epoch, and while many wait."""
        # In a thread of pages: those of asyncio are for looking whether challenges can be taken.
        key = await in_own_thread(self._meant)(miner, epoch)
        if (kept := self._kept(key)) is not None:
            return kept
        if self._waiting >= WAITING:
            said = f"{WAITING} wait for a receipt already, and one is made at a time; try again in some seconds"
            raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, said, headers={"Retry-After": "10"})
        self._waiting += 1
        try:
            async with self._one:
                if (kept := self._kept(key)) is not None:  # somebody else waited for the same
                    return kept
                body = await self._made(key)
        finally:
            self._waiting -= 1
        self._bodies[key] = body
        while len(self._bodies) > KEPT:
            self._bodies.popitem(last=False)
        return body

    def _meant(self, miner: str, epoch: str) -> Key:
        """The epoch and the miner that are meant, and what its receipt hangs on that may still change. Blocks."""
        where = self._epochs.where(epoch)
        hotkey = self._epochs.named(where, miner)
        readers_are_miners = self._settings.pages_public and self._canaries.any()
        return where.number, hotkey, self._seen(where), not readers_are_miners

    def _seen(self, where: EpochTables) -> str:
        """What was seen of it on the chain. The ledger is moved before the table is written, so both say it."""
        newest = [key.name for key in read_backs(self._tables, where)[-1:]]
        return f"{where.row.state} {where.row.changed_at} {newest}"

    def _kept(self, key: Key) -> str | None:
        if (body := self._bodies.get(key)) is not None:
            self._bodies.move_to_end(key)
        return body

    async def _made(self, key: Key) -> str:
        number, miner, _, rounds = key
        # The URL of a database may hold a password, so it is no argument, which every user of the machine sees.
        stores = {"tables_root": self._settings.tables_root, "inbox_url": self._settings.inbox_url}
        asked: dict[str, Any] = {**stores, "epoch": str(number), "miner": miner, "up": UP, "rounds": rounds}
        answer = json.loads(await _run(json.dumps(asked).encode()))
        if "unknown" in answer:
            raise HTTPException(status.HTTP_404_NOT_FOUND, answer["unknown"])
        if "error" in answer:
            raise _failed(answer["error"])
        body: str = answer["body"]
        return body


async def _run(asked: bytes) -> bytes:
    """What the process says. It is never left behind: not by who goes away, nor when it takes too long."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    ended = False
    try:
        said, errors = await asyncio.wait_for(process.communicate(asked), MADE_WITHIN_S)
        ended = True
    except TimeoutError:
        raise HTTPException(
            status.HTTP_503_SERVICE_UNAVAILABLE,
            f"no receipt within {MADE_WITHIN_S:.0f} s; `loosh explain` has no limit",
        ) from None
    finally:
        if not ended:
            await _end(process)
    if process.returncode:
        text = errors.decode(errors="replace").strip()
        raise _failed(": ".join(filter(None, [_how(process.returncode), _last_line(text)])), text)
    return said


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it and all that it started: something of it may hold its pipes open when it is gone itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        await asyncio.wait_for(process.wait(), ENDED_WITHIN_S)
    except TimeoutError:
        logger.error("process %d, killed while it made a receipt, is there after %g s", process.pid, ENDED_WITHIN_S)


def _how(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"its process ended with {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"its process was ended by {name}{MEMORY if name == 'SIGKILL' else ''}"


def _last_line(text: str) -> str:
    """The last that says something: some errors end with where to read about their kind."""
    return next((line for line in reversed(text.split("\n")) if not line.startswith("(")), "")


def _failed(why: str, all_said: str = "") -> HTTPException:
    logger.error("no receipt could be made: %s%s", why, f"\n{all_said}" if all_said else "")
    return HTTPException(status.HTTP_500_INTERNAL_SERVER_ERROR, f"no receipt could be made: {why}")
