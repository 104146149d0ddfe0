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
from dataclasses import dataclass
from threading import Lock

from fastapi import HTTPException, status
from sqlalchemy import Engine

from loosh_pipeline.audit.epochs import LATEST, EpochTables, epoch_tables, epochs, read_backs
from loosh_pipeline.audit.miners import MinerLine, Miners, miners_of_epoch
from loosh_pipeline.audit.naming import named_miner
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import StoreError, UnknownEpoch, UnknownMiner
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.tables import Tables

logger = logging.getLogger(__name__)

KEPT = 64
"""Receipts that are remembered; one is some 100 KB."""
WAITING = 4
"""Who may wait for a receipt at once; others are told to come back."""
MADE_WITHIN_S = 120.0
ENDED_WITHIN_S = 5.0
"""How long a process that was killed is waited for."""
OTHER_EPOCHS = 12
MEMORY = ", as the system does when memory runs out"
COMMAND = (sys.executable, "-m", "loosh_pipeline.audit.process")


Key = tuple[int, Hotkey, str]
"""Of a page: the epoch, the miner, and what was seen of the weights on the chain."""


@dataclass(frozen=True, slots=True)
class MinersTable:
    """The miners of an epoch, and the epochs that there are, newest first."""

    row: SubmissionRow
    lines: tuple[MinerLine, ...]
    epochs: tuple[SubmissionRow, ...]


class Receipts:
    """What an epoch says of its miners, kept for as long as nothing more of it was seen on the chain."""

    def __init__(self, settings: Settings, inbox: Engine, tables: Tables) -> None:
        self._settings, self._inbox, self._tables = settings, inbox, tables
        self._one = asyncio.Lock()
        self._waiting = 0
        self._pages: OrderedDict[Key, str] = OrderedDict()
        self._listing = Lock()
        self._of_epoch: tuple[str, Miners] | None = None

    def miners(self, epoch: str = LATEST) -> MinersTable | None:
        """All miners in a line each; None before any weights. Blocks. Raises HTTPException for an unknown epoch."""
        others = tuple(epochs(self._inbox, OTHER_EPOCHS))
        if not others:
            return None
        where = self._where(epoch)
        return MinersTable(where.row, self._miners_of(where).lines, others)

    async def page(self, miner: str, epoch: str = LATEST) -> str:
        """The receipt of one miner. Raises HTTPException for an unknown miner or epoch, and while many wait."""
        where, hotkey, seen = await asyncio.to_thread(self._meant, miner, epoch)
        key = where.number, hotkey, seen
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
                page = await self._made(hotkey, str(where.number))
        finally:
            self._waiting -= 1
        self._pages[key] = page
        while len(self._pages) > KEPT:
            self._pages.popitem(last=False)
        return page

    def _miners_of(self, where: EpochTables) -> Miners:
        """Blocks. Raises HTTPException for broken tables."""
        state = f"{where.number} {where.row.changed_at}"
        with self._listing:
            if self._of_epoch is None or self._of_epoch[0] != state:
                try:
                    self._of_epoch = state, miners_of_epoch(self._tables, where)
                except (StoreError, OSError) as error:
                    raise HTTPException(status.HTTP_500_INTERNAL_SERVER_ERROR, str(error)) from error
            return self._of_epoch[1]

    def _meant(self, miner: str, epoch: str) -> tuple[EpochTables, Hotkey, str]:
        """The epoch and the miner that are meant, and what its receipt hangs on that may still change. Blocks."""
        where = self._where(epoch)
        try:
            hotkey = named_miner(miner, self._miners_of(where).uids)
        except UnknownMiner as error:
            raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error
        return where, hotkey, self._seen(where)

    def _seen(self, where: EpochTables) -> str:
        """What was seen of it on the chain. The ledger is moved before the table is written, so both say it."""
        newest = [key.name for key in read_backs(self._tables, where)[-1:]]
        return f"{where.row.state} {where.row.changed_at} {newest}"

    def _where(self, epoch: str) -> EpochTables:
        try:
            return epoch_tables(self._inbox, self._tables, epoch)
        except UnknownEpoch as error:
            raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error

    def _kept(self, key: Key) -> str | None:
        if (page := self._pages.get(key)) is not None:
            self._pages.move_to_end(key)
        return page

    async def _made(self, miner: Hotkey, epoch: str) -> str:
        # The URL of a database may hold a password, so it is no argument, which every user of the machine sees.
        asked = {"tables_root": self._settings.tables_root, "inbox_url": self._settings.inbox_url}
        said = json.dumps({**asked, "epoch": epoch, "miner": miner})
        answer = json.loads(await _run(said.encode()))
        if "unknown" in answer:
            raise HTTPException(status.HTTP_404_NOT_FOUND, answer["unknown"])
        if "error" in answer:
            raise _failed(answer["error"])
        page: str = answer["page"]
        return page


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
