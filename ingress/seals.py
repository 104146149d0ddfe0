"""Seals as strangers are shown them. They never change, so each is read once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Any

from loosh_pipeline.plain import plain, said_at
from loosh_pipeline.store.seals import SEALS, KeptSeal, read_seal
from loosh_pipeline.store.submissions import Submissions
from loosh_pipeline.store.tables import TableKey, Tables
from loosh_pipeline.store.weight_frames import submission_key

SHOWN = 100
"""Of weights once an hour, those of four days."""
REMEMBERED = 2 * SHOWN
LISTED_S = 1.0
"""How long one look at what there is serves everybody."""
MOST = 2**63 - 1
"""What a database counts to."""


class Seals:
    """Reads seals by the number of their submission, and the newest of them. Blocks."""

    def __init__(
        self, tables: Tables, submissions: Submissions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tables, self._submissions, self._clock = tables, submissions, clock
        self._reading = threading.Lock()
        self._known: OrderedDict[TableKey, KeptSeal] = OrderedDict()
        self._listed: tuple[float, list[dict[str, Any]]] | None = None

    def of(self, number: int) -> dict[str, Any] | None:
        """The seal and signature of a submission as plain JSON; None where there is none."""
        if not 0 <= number <= MOST or (row := self._submissions.get(number)) is None:
            return None
        key = submission_key(row)
        with self._reading:
            if key not in self._known and not self._tables.exists(SEALS, key):
                return None
            said: dict[str, Any] = plain(self._read(key).signed)
            return said

    def newest(self) -> list[dict[str, Any]]:
        """What the newest say in short, the last submission first."""
        with self._reading:
            if self._listed is None or self._clock() - self._listed[0] >= LISTED_S:
                keys = islice(self._tables.newest_first(SEALS), SHOWN)
                self._listed = self._clock(), [_short(self._read(key)) for key in keys]
            return self._listed[1]

    def _read(self, key: TableKey) -> KeptSeal:
        found = self._known.pop(key, None) or read_seal(self._tables, key)
        self._known[key] = found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found


def _short(kept: KeptSeal) -> dict[str, Any]:
    seal = kept.signed.seal
    return {
        "number": seal.epoch.number,
        "validator": seal.epoch.validator,
        "netuid": seal.epoch.netuid,
        "root": seal.root,
        "sealed_at": said_at(seal.sealed_at),
        "sealed_block": seal.sealed_block,
        "sample_block": seal.sample_block,
    }
