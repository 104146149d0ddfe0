"""The databases, the broker, and the validator that runs here."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from loosh_pipeline.chain.endpoints import hushed, shown
from loosh_pipeline.doctor.finding import Finding, look, ok, parts, wrong
from loosh_pipeline.errors import ServiceError, StoreError
from loosh_pipeline.own_health import unwell
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.database import stands_at
from loosh_pipeline.store.foreign import Schema
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.workers.config import uses_files
from loosh_pipeline.workers.reach import broker_problem, broker_shown

HEALTH_WITHIN_S = 5.0
EMBEDDER_NOT_READY = "the embedder is not ready"
"""How the ingress says it."""


def databases(settings: Settings) -> Iterator[Finding]:
    """Whether each database is one that this release can use; nothing is created or migrated."""
    urls: dict[Schema, str] = {"inbox": settings.inbox_url, "users": settings.users_url}
    fine: list[str] = []
    for schema, url in urls.items():
        try:
            stand = stands_at(url, schema)
        except StoreError as error:
            yield wrong("database", *parts(error))
            continue
        fine.append(f"{schema} {stand}")
    if fine:
        yield ok("database", ", ".join(fine))


def tables(settings: Settings) -> Iterator[Finding]:
    """Whether an object store is there that holds the tables; a directory is looked at as the disks are."""
    root = settings.tables_root
    if "://" not in root:
        yield ok("tables", "files on a disk of this machine")
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
    if uses_files(settings):
        yield ok("broker", "files in LOOSH_HOME")
    elif (problem := broker_problem(settings)) is None:
        yield ok("broker", f"{broker_shown(settings)} answers")
    else:
        said = f"{broker_shown(settings)} (CELERY_BROKER_URL) {problem}"
        yield wrong("broker", said, "start it, or set CELERY_BROKER_URL right; leave it empty to use files")


def running(settings: Settings, runs: bool) -> Iterator[Finding]:
    """Whether the validator that runs here takes challenges, by its own word."""
    if not runs:
        yield ok("validator", f"none runs in {settings.home}; `loosh up` starts it")
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
        yield wrong("validator", said, "docs/operating.md: Health")
