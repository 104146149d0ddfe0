"""The databases, the broker, and the validator that runs here."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from loosh_pipeline.audit.acceptances import BACK_WITHIN, first_broken
from loosh_pipeline.chain.endpoints import hushed, shown
from loosh_pipeline.doctor.finding import Finding, look, ok, parts, wrong
from loosh_pipeline.errors import ServiceError, StoreError
from loosh_pipeline.own_health import unwell
from loosh_pipeline.settings import Settings
from loosh_pipeline.settings.model import is_loopback
from loosh_pipeline.settings.roles import EMBEDDER, EMBEDS, INGRESS, KEEPS, RUNS, WORKERS
from loosh_pipeline.store.acceptances import newest_links, unlinked_since_the_first
from loosh_pipeline.store.database import LOOK_WITHIN_S, looking, stands_at, with_driver
from loosh_pipeline.store.foreign import Schema
from loosh_pipeline.store.hosts import HEARD_WITHIN_S, Hosts, impatient_engine
from loosh_pipeline.store.shared_places import name_file
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.workers.config import EVALUATIONS, UPKEEP
from loosh_pipeline.workers.heart import copied, host_name, incarnation_file
from loosh_pipeline.workers.reach import broker_problem, broker_shown

HEALTH_WITHIN_S = 5.0
LINKS = 1000
UP_TO_DATE = "up to date"
EMBEDDER_NOT_READY = "the embedder is not ready"
"""How the ingress says it."""


def databases(settings: Settings) -> Iterator[Finding]:
    """Whether each database is one that this release can use; nothing is created or migrated."""
    urls: dict[Schema, str] = {"inbox": settings.inbox_url}
    if settings.runs_here(INGRESS):
        urls["users"] = settings.users_url
    fine: list[str] = []
    for schema, url in urls.items():
        try:
            stand = stands_at(url, schema)
        except StoreError as error:
            yield wrong("database", *parts(error))
            if settings.database_url is not None:  # both are there
                break
            continue
        fine.append(f"{schema} {stand}")
    if fine:
        yield ok("database", ", ".join(fine))
    if f"inbox {UP_TO_DATE}" in fine:
        yield from _accepted(settings, datetime.now(UTC))
    yield from _dagster_database(settings)


def _accepted(settings: Settings, now: datetime) -> Iterator[Finding]:
    """What is wrong with the newest links of the chain of accepted challenges; `loosh audit chain` follows all."""
    try:
        with looking(settings.inbox_url, "inbox") as connection:
            newest = newest_links(connection, LINKS)
            unlinked = len(unlinked_since_the_first(connection))
    except SQLAlchemyError as error:
        said = hushed(" ".join(str(getattr(error, "orig", None) or error).split()), settings.inbox_url)
        yield look("database", f"accepted challenges cannot be read: {said}", "look again")
        return
    if broken := first_broken(newest):
        said = f"the chain of accepted challenges breaks at {broken}"
        yield look("database", said, "`loosh audit chain` says more: what was sealed since cannot be proved")
    if unlinked:
        said = f"{unlinked} challenges were accepted beside their chain, by an ingress of an older release"
        yield look("database", said, "stop that ingress: weights that they decide cannot be proved")
    if newest and (ahead := max(each.received_at for each in newest) - now) > BACK_WITHIN:
        said = f"a challenge is stamped {ahead} in the future: a clock was ahead, or this one is behind"
        yield look("database", said, "keep clocks by NTP; the windows that hold that challenge cannot be proved")


def _dagster_database(settings: Settings) -> Iterator[Finding]:
    """Whether the server answers that keeps Dagster's runs and events, where this machine needs it."""
    url = settings.dagster_database_url
    if url is None or not settings.runs_here(*RUNS):
        return
    try:
        engine = create_engine(with_driver(url), connect_args={"connect_timeout": int(LOOK_WITHIN_S)})
        with engine.connect():
            pass
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        said = hushed(" ".join(str(getattr(error, "orig", None) or error).split()), url)
        todo = "is the server up, and are host, port, user and password right (DAGSTER_DATABASE_URL)?"
        yield wrong("database", f"Dagster's database {shown(url)} cannot be reached: {said}", todo)
    else:
        yield ok("database", f"Dagster's {shown(url)} answers")


def tables(settings: Settings) -> Iterator[Finding]:
    """Whether an object store is there that holds the tables; a directory is looked at as the disks are."""
    root = settings.tables_root
    if "://" not in root:
        shared = bool(settings.loosh_services)
        yield ok("tables", f"files in {root}" + (", which every machine must mount" if shared else ""))
        return
    shown_root = f"{shown(root)}{urlsplit(root).path} (TABLES_DIR)"
    try:
        Tables(root).check_listed()
    except StoreError as error:
        said, todo = parts(error)
        yield wrong("tables", f"{shown_root} {hushed(said, root)}", todo)
    except (ImportError, ValueError) as error:
        todo = "set TABLES_DIR right, or install the package that is named"
        yield wrong("tables", f"{shown_root} cannot be used: {hushed(str(error), root)}", todo)
    else:
        yield ok("tables", f"{shown_root} can be listed")


def broker(settings: Settings) -> Iterator[Finding]:
    """What hands out runs."""
    if settings.hands_out_files:
        yield ok("broker", "files in LOOSH_HOME")
    elif (problem := broker_problem(settings)) is None:
        yield ok("broker", f"{broker_shown(settings)} answers")
    else:
        said = f"{broker_shown(settings)} (CELERY_BROKER_URL) {problem}"
        yield wrong("broker", said, "start it, or set CELERY_BROKER_URL right; leave it empty to use files")


def machines(settings: Settings) -> Iterator[Finding]:
    """Whether the other machines reach what this one serves, and machines of workers are heard of."""
    served = {
        "dagster-webserver": ("DAGSTER_HOST", settings.dagster_host),
        EMBEDDER: ("EMBEDDER_HOST", settings.embedder_host),
    }
    users = {"dagster-webserver": {INGRESS}, EMBEDDER: EMBEDS}
    for name, (setting, host) in served.items():
        if settings.runs_here(name):
            yield from _asks_nobody(name, setting, host)
        alone = name in settings.loosh_services and not users[name] <= set(settings.loosh_services)
        if alone and is_loopback(host):
            said = f"the {name} listens on this machine alone ({setting}={host})"
            yield look(
                "machines",
                said,
                f"set {setting} to this machine's address in your own network, unless a tunnel leads here",
            )
    if not settings.spread or not settings.runs_here(*KEEPS):
        return
    engine = impatient_engine(str(settings.database_url))
    try:
        heard = [each for each in Hosts(engine).known() if each.is_heard]
        if settings.runs_here(*WORKERS):
            yield from _two_of_one_name(settings, Hosts(engine))
    except SQLAlchemyError:
        return  # no such table yet, or no server: the line of the database says so
    for queue in (EVALUATIONS, UPKEEP):
        there = [each.host for each in heard if each.queue == queue]
        if there:
            yield ok("machines", f"workers of {queue} on {', '.join(there)}")
        else:
            todo = "start `loosh up` on a machine with the service worker, and with upkeep; challenges wait meanwhile"
            yield look("machines", f"no machine with workers of {queue} is heard of", todo)


def _asks_nobody(name: str, setting: str, host: str) -> Iterator[Finding]:
    """Whether strangers may reach what asks nobody who they are."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    todo = f"set {setting} to an address in a network of your own machines"
    if address.is_unspecified:
        said = f"the {name} listens on every address of this machine and asks nobody who they are ({setting}={host})"
        yield look("machines", said, f"{todo}, unless a firewall or a container's network keeps all others out")
    elif address.is_global:
        yield wrong("machines", f"the {name} listens on a public address, and obeys anybody ({setting}={host})", todo)


def _two_of_one_name(settings: Settings, hosts: Hosts) -> Iterator[Finding]:
    """Whether another machine speaks under the name of this one's workers."""
    if not name_file(settings).exists():  # it never ran here, and nothing is written
        return
    host = host_name(settings)
    for queue in (EVALUATIONS, UPKEEP):
        file = incarnation_file(settings, queue)
        spoke = hosts.spoke(host, queue)
        if file.exists() and spoke and spoke.silent_s < HEARD_WITHIN_S and spoke.incarnation != file.read_text():
            yield wrong("machines", *copied(settings, host).split(". ", 1))


def running(settings: Settings, runs: bool) -> Iterator[Finding]:
    """Whether the validator that runs here takes challenges, by its own word."""
    if not runs:
        yield ok("validator", f"none runs in {settings.home}; `loosh up` starts it")
        return
    if not settings.runs_here(INGRESS):
        yield ok("validator", f"a part of one runs in {settings.home}; whether it takes challenges its ingresses say")
        return
    try:
        reasons = unwell(settings, HEALTH_WITHIN_S)
    except ServiceError as error:
        said = f"one runs in {settings.home}, and {error}"
        yield look("validator", said, "it may be starting; else see LOOSH_HOME/logs/ingress.log")
        return
    if not reasons:
        yield ok("validator", f"one runs in {settings.home} and is healthy")
        return
    said = f"the one that runs here takes no challenges: {'; '.join(reasons)}"
    if all(each.startswith(EMBEDDER_NOT_READY) for each in reasons):
        yield look("validator", said, "it may be starting; the line embedder says what is wrong with that")
    else:
        yield wrong("validator", said, "docs/operating/troubleshooting.md: Health")
