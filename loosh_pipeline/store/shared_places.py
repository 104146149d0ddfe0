"""Whether what all machines are to share is the same on each: a directory that was not mounted looks empty, and a
wrong address leads somewhere, too.

Whoever is first leaves a mark in a directory or bucket, which the database knows; who finds another mark, or none, is
elsewhere. Where Dagster keeps its runs, and whether files hand them out, the database knows as well.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
from sqlalchemy import Connection, Engine, create_engine, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.chain.endpoints import shown
from loosh_pipeline.errors import StoreError
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.roles import DRAWS, KEEPS, RUNS
from loosh_pipeline.store.database import LOOK_WITHIN_S, open_database, with_driver
from loosh_pipeline.store.hosts import anybody_heard
from loosh_pipeline.store.schema import flags

MARK = ".loosh-shared"
LOCK_ID = 7_802_027
"""Key of the advisory lock under which one process looks, so that there is one first."""


def name_file(settings: Settings) -> Path:
    """Where a data directory has its name; deleted, it gets another."""
    return settings.home / "celery" / "host"


def own_name(settings: Settings) -> str:
    """The name that a data directory was given once."""
    path = name_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        own = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
        own.write_text(uuid.uuid4().hex[:8])
        with suppress(FileExistsError):  # another process of this machine was first
            path.hardlink_to(own)
        own.unlink()
    return path.read_text().strip()[:16]


def shared_places(settings: Settings) -> Mapping[str, str]:
    """Directories and buckets that this machine shares with others, by setting; none where there are no others."""
    if not settings.spread:
        return {}
    found = {}
    if settings.runs_here(*KEEPS):
        found["TABLES_DIR"] = settings.tables_root
    if settings.runs_here(*DRAWS):
        found["HEATMAPS_DIR"] = str(settings.heatmaps_root)
    return {key: at if "://" in at else str(Path(at).expanduser().absolute()) for key, at in found.items()}


def marked_places(settings: Settings) -> Sequence[tuple[Path, str]]:
    """The directories among them, and the mark in each: what may be mounted no longer, later."""
    places = [Path(at) for at in shared_places(settings).values() if "://" not in at]
    return [(at, mark) for at in places if (mark := mark_in(at)) is not None]


def see_what_is_shared(settings: Settings) -> None:
    """Raises StoreError where this machine would read, write or hand out what no other sees."""
    if settings.spread:
        engine = open_database(settings.inbox_url, "inbox")
        check_shared(settings, engine, datetime.now(UTC))
        engine.dispose()


def check_shared(settings: Settings, engine: Engine, now: datetime) -> None:
    """Raises StoreError for a directory, a database or a broker that is not the one of the other machines."""
    if not settings.spread:
        return
    agreed = agreements(settings)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_ID})
        for setting, place in shared_places(settings).items():
            _check_place(connection, setting, place, now)
        for setting, value in agreed.items():
            _check_agreed(connection, setting, value, now)


def _check_place(connection: Connection, setting: str, place: str, now: datetime) -> None:
    known, name = _known(connection, setting), _named(place)
    try:
        mark = mark_in(place)
        if known is None:
            mark = known = mark or _new_mark(place)
            _know(connection, setting, mark, now)
    except (OSError, ImportError, ValueError) as error:
        raise StoreError(
            f"{name} ({setting}) cannot be used: {getattr(error, 'strerror', None) or error}; is it mounted, and this "
            "user's?"
        ) from error
    if mark != known:
        raise StoreError(
            f"{name} ({setting}) is not the directory that other machines of this validator use; mount that one here. "
            f"If it was moved, take its file {MARK} along"
        )


def mark_in(place: str | Path) -> str | None:
    """What the mark of a directory or bucket says; None where it has none. Raises OSError where that cannot be told."""
    try:
        if "://" not in str(place):
            return (Path(place) / MARK).read_text().strip()[:64] or None
        fs, root = fsspec.core.url_to_fs(str(place), use_listings_cache=False)
        return fs.cat_file(f"{root}/{MARK}").decode(errors="replace").strip()[:64] or None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _new_mark(place: str) -> str:
    mark = uuid.uuid4().hex
    fs, root = fsspec.core.url_to_fs(place, use_listings_cache=False)
    fs.makedirs(root, exist_ok=True)
    fs.pipe_file(f"{root}/{MARK}", mark.encode())
    return mark


def agreements(settings: Settings) -> Mapping[str, str]:
    """What machines that hand out and execute runs must have alike, by setting: a fingerprint that names nothing."""
    if not settings.runs_here(*RUNS):
        return {}
    own = f"files of {own_name(settings)}"
    url = settings.dagster_database_url
    return {
        "DAGSTER_DATABASE_URL": own if url is None else _database_is(url),
        "CELERY_BROKER_URL": own if settings.hands_out_files else "server",
    }


def _check_agreed(connection: Connection, setting: str, value: str, now: datetime) -> None:
    """Whoever starts while no worker is heard of says anew what it is."""
    known = _known(connection, setting)
    if known == value:
        return
    if known is None or not anybody_heard(connection):
        _know(connection, setting, value, now)
        return
    why = {
        "DAGSTER_DATABASE_URL": "all keep Dagster's runs in one Postgres",
        "CELERY_BROKER_URL": "files in LOOSH_HOME hand out runs on one machine only; all name one Redis or RabbitMQ",
    }[setting]
    raise StoreError(
        f"{setting} leads elsewhere than on other machines of this validator, whose workers run now: {why}. Set it "
        "alike; to change it, stop `loosh up` on all of them first"
    )


def _database_is(url: str) -> str:
    """Which database of which server it is, whatever it is called from here."""
    query = text(
        "SELECT (SELECT system_identifier FROM pg_control_system()), oid FROM pg_database "
        "WHERE datname = current_database()"
    )
    engine = create_engine(with_driver(url), connect_args={"connect_timeout": int(LOOK_WITHIN_S)}, hide_parameters=True)
    try:
        with engine.connect() as connection:
            server, database = connection.execute(query).one()
    except SQLAlchemyError as error:
        raise StoreError(
            f"Dagster's database {shown(url)} cannot be asked who it is: {getattr(error, 'orig', error)}; is the "
            "server up, and are host, port, user and password right (DAGSTER_DATABASE_URL)?"
        ) from error
    finally:
        engine.dispose()
    return hashlib.sha256(f"{server}/{database}".encode()).hexdigest()


def _named(place: str) -> str:
    return f"{shown(place)}{urlsplit(place).path}" if "://" in place else place


def _known(connection: Connection, setting: str) -> str | None:
    """What the database has for a setting."""
    query = select(flags.c.value).where(flags.c.name == f"shared:{setting}")
    return connection.execute(query).scalar_one_or_none()


def _know(connection: Connection, setting: str, value: str, now: datetime) -> None:
    changes = {"value": value, "changed_at": now}
    row = insert(flags).values(name=f"shared:{setting}", **changes)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=changes))
