"""Receipts for the operator's pages: made one at a time, beside the event loop and everything that takes challenges."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from fastapi import HTTPException, status
from sqlalchemy import Engine

from loosh_pipeline.audit.epochs import LATEST, EpochTables, epoch_tables, epochs
from loosh_pipeline.audit.miners import MinerLine, miner_lines
from loosh_pipeline.chain.records import SubmissionRow
from loosh_pipeline.errors import UnknownEpoch
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.tables import Tables

logger = logging.getLogger(__name__)

KEPT = 64
"""Receipts that are remembered; one is some 100 KB."""
WAITING = 4
"""Who may wait for a receipt at once; others are told to come back."""
MADE_WITHIN_S = 120.0
OTHER_EPOCHS = 12
COMMAND = (sys.executable, "-m", "loosh_pipeline.audit.process")


@dataclass(frozen=True, slots=True)
class MinersTable:
    """The miners of an epoch, and the epochs that there are, newest first."""

    row: SubmissionRow
    lines: tuple[MinerLine, ...]
    epochs: tuple[SubmissionRow, ...]


class Receipts:
    """What an epoch says of its miners. An epoch changes no more once the chain has shown it, so all is kept by it."""

    def __init__(self, settings: Settings, inbox: Engine, tables: Tables) -> None:
        self._settings, self._inbox, self._tables = settings, inbox, tables
        self._one = asyncio.Lock()
        self._waiting = 0
        self._pages: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._listing = Lock()
        self._lines: tuple[str, tuple[MinerLine, ...]] | None = None

    def miners(self, epoch: str = LATEST) -> MinersTable | None:
        """All miners in a line each; None before any weights. Blocks. Raises HTTPException for an unknown epoch."""
        others = tuple(epochs(self._inbox, OTHER_EPOCHS))
        if not others:
            return None
        where = self._where(epoch)
        with self._listing:
            if self._lines is None or self._lines[0] != _state(where):
                self._lines = _state(where), miner_lines(self._tables, where)
            return MinersTable(where.row, self._lines[1], others)

    async def page(self, miner: str, epoch: str = LATEST) -> str:
        """The receipt of one miner. Raises HTTPException for an unknown miner or epoch, and while many wait."""
        where = await asyncio.to_thread(self._where, epoch)
        key = _state(where), miner
        if (kept := self._kept(key)) is not None:
            return kept
        if self._waiting >= WAITING:
            said = f"{WAITING} receipts are being made already; try again in some seconds"
            raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, said, headers={"Retry-After": "10"})
        self._waiting += 1
        try:
            async with self._one:
                if (kept := self._kept(key)) is not None:  # somebody else waited for the same
                    return kept
                page = await self._made(miner, str(where.number))
        finally:
            self._waiting -= 1
        self._pages[key] = page
        while len(self._pages) > KEPT:
            self._pages.popitem(last=False)
        return page

    def _where(self, epoch: str) -> EpochTables:
        try:
            return epoch_tables(self._inbox, self._tables, epoch)
        except UnknownEpoch as error:
            raise HTTPException(status.HTTP_404_NOT_FOUND, str(error)) from error

    def _kept(self, key: tuple[str, str]) -> str | None:
        if (page := self._pages.get(key)) is not None:
            self._pages.move_to_end(key)
        return page

    async def _made(self, miner: str, epoch: str) -> str:
        # The URL of a database may hold a password, so it is no argument, which every user of the machine sees.
        asked = {"tables_root": self._settings.tables_root, "inbox_url": self._settings.inbox_url}
        said = json.dumps({**asked, "epoch": epoch, "miner": miner})
        answer = json.loads(await _run(said.encode()))
        if "unknown" in answer:
            raise HTTPException(status.HTTP_404_NOT_FOUND, answer["unknown"])
        page: str = answer["page"]
        return page


def _state(where: EpochTables) -> str:
    """What the receipts of an epoch hang on that may still change: what became of it on the chain."""
    return f"{where.number} {where.row.state} {where.row.changed_at}"


async def _run(asked: bytes) -> bytes:
    """What the process says. It is never left behind: not by who goes away, nor when it takes too long."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        said, errors = await asyncio.wait_for(process.communicate(asked), MADE_WITHIN_S)
    except TimeoutError:
        raise HTTPException(
            status.HTTP_503_SERVICE_UNAVAILABLE,
            f"no receipt within {MADE_WITHIN_S:.0f} s; `loosh explain` has no limit",
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        logger.error("a receipt could not be made:\n%s", errors.decode(errors="replace"))
        said_last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise HTTPException(status.HTTP_500_INTERNAL_SERVER_ERROR, f"no receipt could be made: {said_last}")
    return said
