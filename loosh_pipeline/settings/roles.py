"""Which processes of a validator run on this machine (LOOSH_SERVICES), and what the others must then be told.

Pure: every rule reads settings alone, so that a machine of one role is refused at once where it could not work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loosh_pipeline.settings.model import Settings

INGRESS, EMBEDDER, ALERTS = "ingress", "embedder", "alerts"
DAGSTER = frozenset({"code-server", "dagster-webserver", "dagster-daemon"})
"""These share a machine, and there is one such machine."""
WORKERS = frozenset({"worker", "upkeep"})
RUNS = DAGSTER | WORKERS
"""Who hands runs out, and who executes them."""
KEEPS = RUNS | {INGRESS}
"""Who reads and writes the database of challenges and the tables."""
DRAWS = WORKERS | {INGRESS}
"""Who makes pictures, and who shows them."""
EMBEDS = KEEPS
"""Who asks the embedder: evaluations for vectors, the ingress for whether it is there."""


def contradictions(settings: Settings) -> Iterator[str]:
    """Why a machine of these roles cannot work, each with the setting that is wrong; nothing where all run here."""
    here = frozenset(settings.loosh_services)
    if not here:
        return
    if DAGSTER & here and not here >= DAGSTER:
        missing = ", ".join(sorted(DAGSTER - here))
        yield f"LOOSH_SERVICES: {', '.join(sorted(DAGSTER))} share one machine; name {missing} too, or none of them"
    for wanted, rule in RULES:
        if wanted & here and not wanted <= here:
            yield from rule(settings)
    yield from _embedder(settings, here)
    if here & {INGRESS, ALERTS} and not DAGSTER & here and settings.dagster_url is None:
        yield "DAGSTER_URL: name the Dagster webserver of the machine that has it, such as http://10.0.0.2:3000"


def _shared_inbox(settings: Settings) -> Iterator[str]:
    if settings.database_url is None:
        yield (
            "DATABASE_URL: the ingress, Dagster and workers are on different machines (LOOSH_SERVICES), and share one "
            "Postgres, such as postgresql+psycopg2://user:password@host/loosh"
        )
    if settings.tables_dir is None:
        yield "TABLES_DIR: name a directory that all machines mount, or an object store such as s3://bucket/loosh"


def _shared_runs(settings: Settings) -> Iterator[str]:
    if settings.dagster_database_url is None:
        yield (
            "DAGSTER_DATABASE_URL: Dagster and workers are on different machines (LOOSH_SERVICES), and share one "
            "Postgres, such as postgresql+psycopg2://user:password@host/dagster"
        )
    if settings.hands_out_files:
        yield (
            "CELERY_BROKER_URL: files in LOOSH_HOME hand out runs on one machine only; name a Redis "
            "(redis://HOST:6379/0) or a RabbitMQ that Dagster and workers share"
        )


def _shared_pictures(settings: Settings) -> Iterator[str]:
    if settings.heatmaps_dir is None:
        yield "HEATMAPS_DIR: name a directory that workers and every ingress mount: workers draw what the ingress shows"


RULES: tuple[tuple[frozenset[str], Callable[[Settings], Iterator[str]]], ...] = (
    (KEEPS, _shared_inbox),
    (RUNS, _shared_runs),
    (DRAWS, _shared_pictures),
)
"""What must be shared where some of these services run here, and some elsewhere."""


def _embedder(settings: Settings, here: frozenset[str]) -> Iterator[str]:
    if EMBEDDER in here and settings.embedding_url is not None:
        yield "EMBEDDING_MODEL names a server, which takes the place of the embedder; take that out of LOOSH_SERVICES"
    elsewhere = settings.embedder_url is not None or settings.embedding_url is not None
    if EMBEDS & here and EMBEDDER not in here and not elsewhere:
        yield "EMBEDDER_URL: name the embedder of the machine that has it, such as http://10.0.0.3:8801"
