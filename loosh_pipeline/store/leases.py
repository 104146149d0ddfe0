"""Leases: who alone may do something for some time. Fenced, so that whoever was overtaken cannot go on unawares."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.errors import NotTheWriter
from loosh_pipeline.store.schema import leases

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write under a name, until somebody takes it after it has expired: then with a higher fence."""

    name: str
    holder: str
    fence: int
    expires_at: datetime


class Leases:
    """Every method is one short transaction. Of several machines, the database's clock says when one has expired."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, name: str, holder: str, now: datetime, length: timedelta) -> Lease:
        """Raises `NotTheWriter` while somebody else holds it."""
        at, until = self._at(now), self._at(now) + length
        new = {"name": name, "holder": holder, "fence": 0, "expires_at": at}
        insert = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        free = (
            update(leases)
            .where(leases.c.name == name, (leases.c.expires_at <= at) | (leases.c.holder == holder))
            .values(holder=holder, fence=leases.c.fence + 1, expires_at=until)
            .returning(leases.c.fence, leases.c.expires_at)
        )
        with self._engine.begin() as connection:
            connection.execute(insert(leases).values(new).on_conflict_do_nothing())
            taken = connection.execute(free).one_or_none()
            if taken is None:
                held = connection.execute(select(leases).where(leases.c.name == name)).one()
                raise NotTheWriter(
                    f"{held.holder} writes {name} until {held.expires_at:%H:%M:%S} UTC, or until it is done; "
                    "if it was killed, the next one takes over then"
                )
        return Lease(name, holder, int(taken.fence), taken.expires_at)

    def _at(self, now: datetime) -> Any:
        """A file has one machine, whose clock it is; a server's machines need not agree."""
        return now if self._engine.dialect.name == "sqlite" else func.now()

    @contextmanager
    def held(self, name: str, holder: str, length: timedelta, clock: Callable[[], datetime]) -> Iterator[Lease]:
        """Take it, and give it back at the end. Raises `NotTheWriter` while somebody else holds it."""
        lease = self.take(name, holder, clock(), length)
        try:
            yield lease
        except BaseException:
            # What went wrong is told, not that the lease could not be given back: it expires by itself.
            try:
                self.release(lease, clock())
            except SQLAlchemyError:
                log.exception("the lease %s could not be given back; it expires at %s", name, lease.expires_at)
            raise
        self.release(lease, clock())

    def release(self, lease: Lease, now: datetime) -> None:
        """Give it back; nothing when somebody has taken it over."""
        ours = leases.c.name == lease.name, leases.c.fence == lease.fence
        with self._engine.begin() as connection:
            connection.execute(update(leases).where(*ours).values(expires_at=self._at(now)))


def still_ours(connection: Connection, lease: Lease) -> None:
    """Raises `NotTheWriter` when a newer fence exists; until this transaction ends, none can come to be."""
    fence = connection.execute(
        select(leases.c.fence).where(leases.c.name == lease.name).with_for_update()
    ).scalar_one_or_none()
    if fence != lease.fence:
        raise NotTheWriter(
            f"{lease.holder} was overtaken: {lease.name} is written under fence {fence}, no longer {lease.fence}"
        )
