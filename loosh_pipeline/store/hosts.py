"""What workers on several machines execute, as each of them says: the locked marks stay the truth on every machine.

A *host* is one data directory on one machine; each of its worker processes speaks for its own queue. Times are the
database's, so that clocks of machines need not agree. Postgres only: one machine with SQLite needs none of this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

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
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.pool import NullPool

from loosh_pipeline.store.database import with_driver
from loosh_pipeline.store.schema import held_runs, hosts

BEAT_S = 2.0
"""How often a host says that it lives."""
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


@dataclass(frozen=True, slots=True)
class Speaker:
    """One process that speaks for a host's workers of a queue. `incarnation` is its own; the next one has another."""

    host: str
    queue: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class Spoke:
    """Who spoke under a host's name, when, and how many seconds ago that is."""

    incarnation: str
    seen_at: datetime
    silent_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a host learns by a beat: of the runs it holds, those to interrupt, and those that another has by now."""

    wanted: frozenset[str]
    lost: frozenset[str]


def impatient_engine(url: str, *, forks: bool = True) -> Engine:
    """An engine that soon says when the database does not answer. For a process that forks it opens a connection each
    time; else it keeps one.
    """
    waits = {"connect_timeout": ANSWERS_WITHIN_S, "tcp_user_timeout": ANSWERS_WITHIN_S * 1000}
    alive = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 2}
    kept: dict[str, Any] = {"poolclass": NullPool} if forks else {"pool_size": 1, "pool_pre_ping": True}
    return create_engine(with_driver(url), hide_parameters=True, connect_args={**waits, **alive}, **kept)


class Hosts:
    """Every method is one short transaction, which waits no longer than ANSWERS_WITHIN_S for a lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def _soon(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            connection.execute(text(f"SET LOCAL statement_timeout = {ANSWERS_WITHIN_S * 1000}"))
            yield connection

    def told(self, host: str, queue: str) -> dict[str, datetime]:
        """Runs that a host counts as executing, and when each was taken."""
        query = select(held_runs.c.run_id, held_runs.c.seen_at).where(_of(host, queue))
        with self._soon() as connection:
            return {row.run_id: row.seen_at for row in connection.execute(query)}

    def spoke(self, host: str, queue: str) -> Spoke | None:
        """The incarnation that speaks under a name, when it last did, and how long ago; None when none did."""
        query = select(hosts.c.incarnation, hosts.c.seen_at, _SILENT_S).where(_is(host, queue))
        with self._soon() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Spoke(*row)

    def beat(
        self,
        me: Speaker,
        children: int,
        held: Collection[str],
        over: Mapping[str, datetime] = MappingProxyType({}),
        *,
        adopt: bool = False,
    ) -> Heard:
        """Say that a host lives, and how many runs its processes hold. `over`: those that `told` returned and that none
        holds any more; one that was taken anew since then stays.

        `adopt`: whoever spoke under this name before is an earlier process of this machine. Raises `Replaced` when
        another incarnation speaks under it, and `WasSilent` when this host holds runs and was not heard of for so long
        that others may have been given them; nothing is said then.
        """
        alive = {"children": children, "busy": len(held), "seen_at": func.now(), "incarnation": me.incarnation}
        with self._soon() as connection:
            mine = select(hosts.c.incarnation, _SILENT_S).where(_is(me.host, me.queue)).with_for_update()
            before = connection.execute(mine).one_or_none()
            if before is not None and before.incarnation != me.incarnation and not adopt:
                raise Replaced(me.host)
            if held and (before is None or before.silent_s >= CUT_OFF_S):
                silent = "ever" if before is None else f"{before.silent_s:.0f} s"
                raise WasSilent(f"this machine was not heard of for {silent}, by the database's clock")
            row = insert(hosts).values(host=me.host, queue=me.queue, **alive)
            connection.execute(row.on_conflict_do_update(index_elements=["host", "queue"], set_=alive))
            if over:
                same = tuple_(held_runs.c.run_id, held_runs.c.seen_at).in_(list(over.items()))
                connection.execute(delete(held_runs).where(_of(me.host, me.queue), same))
            query = select(held_runs.c.run_id, held_runs.c.host, held_runs.c.cancel)
            rows = connection.execute(query.where(held_runs.c.run_id.in_(sorted(held)))).all()
        return Heard(
            frozenset(row.run_id for row in rows if row.host == me.host and row.cancel),
            frozenset(row.run_id for row in rows if row.host != me.host),
        )

    def leave(self, me: Speaker) -> None:
        """A host's workers of a queue end: what they executed is over. Nothing where another speaks under the name."""
        mine = _is(me.host, me.queue), hosts.c.incarnation == me.incarnation
        with self._soon() as connection:
            if connection.execute(delete(hosts).where(*mine)).rowcount:
                connection.execute(delete(held_runs).where(_of(me.host, me.queue)))

    def take(self, run_id: str, host: str, queue: str) -> str | None:
        """Note that a host is about to execute a run. Returns the host that had it and is gone, or this one's own
        earlier process; None when nobody had it. Raises `StillHeld` when another host that lives has it.
        """
        with self._soon() as connection:
            before = None
            while before is None:  # who had it may let go of it between the two
                if connection.execute(_held(run_id, host, queue).on_conflict_do_nothing()).rowcount == 1:
                    return None
                one = select(held_runs.c.host, held_runs.c.queue).where(held_runs.c.run_id == run_id)
                before = connection.execute(one.with_for_update()).one_or_none()
            if before.host != host and _is_heard(connection, before.host, before.queue):
                raise StillHeld(f"run {run_id} is executed on {before.host}")
            taken = {"host": host, "queue": queue, "seen_at": func.now(), "cancel": False}
            connection.execute(update(held_runs).where(held_runs.c.run_id == run_id).values(taken))
            return str(before.host)

    def release(self, run_id: str, host: str) -> None:
        """A run is over, on this host."""
        with self._soon() as connection:
            connection.execute(delete(held_runs).where(held_runs.c.run_id == run_id, held_runs.c.host == host))

    def holders(self) -> dict[str, Host]:
        """The host that executes each run, as far as any has said."""
        query = _HOSTS.add_columns(held_runs.c.run_id).join(held_runs, _same_host())
        with self._soon() as connection:
            return {run_id: Host(*host) for *host, run_id in connection.execute(query)}

    def holder(self, run_id: str) -> Host | None:
        """The host that executes a run, as far as any has said; None when none has, or says so no longer."""
        query = _HOSTS.join(held_runs, _same_host()).where(held_runs.c.run_id == run_id)
        with self._soon() as connection:
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
        with self._soon() as connection:
            asked = update(held_runs).where(held_runs.c.run_id == run_id).values(cancel=True)
            return connection.execute(asked).rowcount == 1

    def free(self, queue: str) -> int:
        """How many processes of all hosts that live could execute something more of a queue."""
        live = hosts.c.queue == queue, _heard()
        with self._soon() as connection:
            children = select(func.coalesce(func.sum(hosts.c.children), 0)).where(*live)
            held = select(func.count()).select_from(held_runs.join(hosts, _same_host())).where(*live)
            return int(connection.execute(children).scalar_one()) - connection.execute(held).scalar_one()

    def known(self) -> Sequence[Host]:
        """Every host that spoke within a day, by name."""
        with self._soon() as connection:
            rows = connection.execute(_HOSTS.order_by(hosts.c.host, hosts.c.queue)).all()
        return [Host(*row) for row in rows]

    def forget(self) -> int:
        """Drop hosts that left long ago, and runs they said they executed; returns how many hosts."""
        before = func.now() - _seconds(FORGOTTEN_AFTER_S)
        orphaned = ~select(hosts.c.host).where(_same_host()).exists()
        with self._soon() as connection:
            gone = connection.execute(delete(hosts).where(hosts.c.seen_at < before)).rowcount
            connection.execute(delete(held_runs).where(held_runs.c.seen_at < before, orphaned))
            return gone


class StillHeld(Exception):
    """A run's message came again while another machine executes it."""


class WasSilent(Exception):
    """A host that holds runs was not heard of for long: they may run elsewhere."""


class Replaced(Exception):
    """Another process speaks under this host's name."""


def _seconds(seconds: float) -> ColumnElement[datetime]:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _heard() -> ColumnElement[bool]:
    return hosts.c.seen_at >= func.now() - _seconds(HEARD_WITHIN_S)


def anybody_heard(connection: Connection) -> bool:
    """Whether any host's workers live."""
    return connection.execute(select(hosts.c.host).where(_heard()).limit(1)).first() is not None


def _is_heard(connection: Connection, host: str, queue: str) -> bool:
    query = select(hosts.c.host).where(_is(host, queue), _heard())
    return connection.execute(query).first() is not None


def _is(host: str, queue: str) -> ColumnElement[bool]:
    return and_(hosts.c.host == host, hosts.c.queue == queue)


def _of(host: str, queue: str) -> ColumnElement[bool]:
    return and_(held_runs.c.host == host, held_runs.c.queue == queue)


def _same_host() -> ColumnElement[bool]:
    return and_(hosts.c.host == held_runs.c.host, hosts.c.queue == held_runs.c.queue)


def _held(run_id: str, host: str, queue: str) -> Insert:
    row = {"run_id": run_id, "host": host, "queue": queue, "seen_at": func.now(), "cancel": false()}
    return insert(held_runs).values(row)


_SILENT_S = func.extract("epoch", func.now() - hosts.c.seen_at).label("silent_s")
_HOSTS = select(hosts.c.host, hosts.c.queue, hosts.c.children, hosts.c.busy, _SILENT_S)
