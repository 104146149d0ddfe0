"""What workers on several machines execute, as each of them says: the locked marks stay the truth on every machine.

A *host* is one data directory on one machine; each of its worker processes speaks for its own queue. Times are the
database's, so that clocks of machines need not agree. Postgres only: one machine with SQLite needs none of this.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    and_,
    create_engine,
    delete,
    false,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.pool import NullPool

from loosh_pipeline.store.database import reading, with_driver
from loosh_pipeline.store.schema import held_runs, hosts

BEAT_S = 2.0
"""How often a host says what it executes."""
CUT_OFF_S = 12.0
"""A host that could not say so for this long ends its runs: nobody else knows of them any more."""
HEARD_WITHIN_S = 20.0
"""One not heard of for this long is gone, and its runs with it. Longer than CUT_OFF_S, so that by then it is."""
FORGOTTEN_AFTER_S = 24 * 3600.0
ANSWERS_WITHIN_S = 4
"""A host that beats waits no longer for the database: it must notice that it is cut off."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host's workers of one queue; `busy` ones execute a run. `silent_s`: since it last spoke."""

    host: str
    queue: str
    children: int
    busy: int
    silent_s: float

    @property
    def is_heard(self) -> bool:
        return self.silent_s <= HEARD_WITHIN_S


def impatient_engine(url: str) -> Engine:
    """An engine that opens a connection each time and soon says when the database does not answer, for a process that
    forks.
    """
    waits = {"connect_timeout": ANSWERS_WITHIN_S, "tcp_user_timeout": ANSWERS_WITHIN_S * 1000}
    alive = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 2}
    return create_engine(with_driver(url), poolclass=NullPool, hide_parameters=True, connect_args={**waits, **alive})


class Hosts:
    """Every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def told(self, host: str, queue: str) -> list[str]:
        """Runs that a host counts as executing, as it said last."""
        with reading(self._engine) as connection:
            return list(connection.execute(select(held_runs.c.run_id).where(_of(host, queue))).scalars())

    def beat(self, host: str, queue: str, children: int, held: Collection[str], over: Collection[str]) -> list[str]:
        """Say that a host lives, and which runs its processes hold; `over`: those that it told of and that none holds
        any more. Returns the runs that somebody wants it to interrupt.
        """
        mine = _of(host, queue)
        with self._engine.begin() as connection:
            connection.execute(text(f"SET LOCAL statement_timeout = {ANSWERS_WITHIN_S * 1000}"))
            alive = {"children": children, "busy": len(held), "seen_at": func.now()}
            row = insert(hosts).values(host=host, queue=queue, **alive)
            connection.execute(row.on_conflict_do_update(index_elements=["host", "queue"], set_=alive))
            if over:
                connection.execute(delete(held_runs).where(mine, held_runs.c.run_id.in_(over)))
            for run_id in sorted(held):
                connection.execute(_held(run_id, host, queue).on_conflict_do_nothing())
            wanted = select(held_runs.c.run_id).where(mine, held_runs.c.cancel)
            return list(connection.execute(wanted).scalars())

    def leave(self, host: str, queue: str) -> None:
        """A host's workers of a queue end: what they executed is over."""
        with self._engine.begin() as connection:
            connection.execute(delete(held_runs).where(_of(host, queue)))
            connection.execute(delete(hosts).where(hosts.c.host == host, hosts.c.queue == queue))

    def take(self, run_id: str, host: str, queue: str) -> str | None:
        """Note that a host is about to execute a run. Returns the host that had it and is gone, or this one's own
        earlier process; None when nobody had it. Raises `StillHeld` when another host that lives has it.
        """
        with self._engine.begin() as connection:
            before = connection.execute(
                select(held_runs.c.host, held_runs.c.queue).where(held_runs.c.run_id == run_id).with_for_update()
            ).one_or_none()
            if before is None:
                new = connection.execute(_held(run_id, host, queue).on_conflict_do_nothing())
                if new.rowcount != 1:
                    raise StillHeld(f"run {run_id} was taken by another machine just now")
                return None
            if before.host != host and _is_heard(connection, before.host, before.queue):
                raise StillHeld(f"run {run_id} is executed on {before.host}")
            taken = {"host": host, "queue": queue, "seen_at": func.now(), "cancel": False}
            connection.execute(update(held_runs).where(held_runs.c.run_id == run_id).values(taken))
            return str(before.host)

    def release(self, run_id: str, host: str) -> None:
        """A run is over, on this host."""
        with self._engine.begin() as connection:
            connection.execute(delete(held_runs).where(held_runs.c.run_id == run_id, held_runs.c.host == host))

    def holder(self, run_id: str) -> Host | None:
        """The host that executes a run, as far as any has said; None when none has, or says so no longer."""
        query = _HOSTS.join(held_runs, _same_host()).where(held_runs.c.run_id == run_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
            if row is not None:
                return Host(*row)
            host = connection.execute(select(held_runs.c.host, held_runs.c.queue).where(held_runs.c.run_id == run_id))
            # Its host never spoke, or was forgotten since.
            return None if (lost := host.one_or_none()) is None else Host(lost.host, lost.queue, 0, 0, float("inf"))

    def ask_to_cancel(self, run_id: str) -> bool:
        """Ask the host that executes a run to interrupt it; False when no host that lives has it."""
        found = self.holder(run_id)
        if found is None or not found.is_heard:
            return False
        with self._engine.begin() as connection:
            asked = update(held_runs).where(held_runs.c.run_id == run_id).values(cancel=True)
            return connection.execute(asked).rowcount == 1

    def free(self, queue: str) -> int:
        """How many processes of all hosts that live could execute something more of a queue."""
        live = hosts.c.queue == queue, _heard()
        with reading(self._engine) as connection:
            children = select(func.coalesce(func.sum(hosts.c.children), 0)).where(*live)
            held = select(func.count()).select_from(held_runs.join(hosts, _same_host())).where(*live)
            return int(connection.execute(children).scalar_one()) - connection.execute(held).scalar_one()

    def known(self) -> Sequence[Host]:
        """Every host that spoke within a day, by name."""
        with reading(self._engine) as connection:
            rows = connection.execute(_HOSTS.order_by(hosts.c.host, hosts.c.queue)).all()
        return [Host(*row) for row in rows]

    def forget(self) -> int:
        """Drop hosts that left long ago, and runs they said they executed; returns how many hosts."""
        before = func.now() - _seconds(FORGOTTEN_AFTER_S)
        orphaned = ~select(hosts.c.host).where(_same_host()).exists()
        with self._engine.begin() as connection:
            gone = connection.execute(delete(hosts).where(hosts.c.seen_at < before)).rowcount
            connection.execute(delete(held_runs).where(held_runs.c.seen_at < before, orphaned))
            return gone


class StillHeld(Exception):
    """A run's message came again while another machine executes it."""


def _seconds(seconds: float) -> ColumnElement[datetime]:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _heard() -> ColumnElement[bool]:
    return hosts.c.seen_at >= func.now() - _seconds(HEARD_WITHIN_S)


def _is_heard(connection: Connection, host: str, queue: str) -> bool:
    query = select(hosts.c.host).where(hosts.c.host == host, hosts.c.queue == queue, _heard())
    return connection.execute(query).first() is not None


def _of(host: str, queue: str) -> ColumnElement[bool]:
    return and_(held_runs.c.host == host, held_runs.c.queue == queue)


def _same_host() -> ColumnElement[bool]:
    return and_(hosts.c.host == held_runs.c.host, hosts.c.queue == held_runs.c.queue)


def _held(run_id: str, host: str, queue: str) -> Insert:
    row = {"run_id": run_id, "host": host, "queue": queue, "seen_at": func.now(), "cancel": false()}
    return insert(held_runs).values(row)


_SILENT_S = func.extract("epoch", func.now() - hosts.c.seen_at)
_HOSTS = select(hosts.c.host, hosts.c.queue, hosts.c.children, hosts.c.busy, _SILENT_S)
