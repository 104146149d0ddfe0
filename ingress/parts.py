"""What the routers work with, built once when the app starts."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from markupsafe import Markup
from prometheus_client import CollectorRegistry

from ingress.auth import Door
from ingress.canaries import CanarySource
from ingress.counting import CanaryCounts, Counts
from ingress.days import Days
from ingress.epochs import Epochs
from ingress.figures import Figures
from ingress.handshakes import Handshakes
from ingress.health import Health
from ingress.intake import Intake
from ingress.kept import Kept
from ingress.launcher import Launcher
from ingress.links import Links
from ingress.metrics import Metrics
from ingress.outlook import Outlook
from ingress.rates import Rates
from ingress.receipts import Receipts
from ingress.seals import Seals
from ingress.standing import Standings
from ingress.vega import Vega
from ingress.writer import Writer
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.canaries import Canaries
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.listing import Listing
from loosh_pipeline.store.nonces import Nonces
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.push_sessions import PushSessions
from loosh_pipeline.store.settled import SettledRounds
from loosh_pipeline.store.shared_places import check_shared
from loosh_pipeline.store.submissions import Submissions
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.users import Users
from loosh_pipeline.workers.room import free_children

logger = logging.getLogger(__name__)

CHARTS_KEPT = 64
"""Each takes some 20 kB."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The stores of one ingress, and what stands between them and strangers."""

    settings: Settings
    inbox: Inbox
    outbox: Outbox
    users: Users
    tables: Tables
    launcher: Launcher
    rates: Rates
    door: Door
    handshakes: Handshakes
    health: Health
    writer: Writer
    intake: Intake
    canaries: CanarySource | None
    figures: Figures
    metrics: Metrics
    seals: Seals
    epochs: Epochs
    receipts: Receipts
    outlook: Outlook
    listing: Listing
    days: Days
    standings: Standings
    settled: SettledRounds
    vega: Vega
    charts: Kept[tuple[str, str], Markup] = field(default_factory=lambda: Kept(CHARTS_KEPT))
    """Heatmaps as pages hold them, by challenge and scorer version, where none was kept on the disk."""
    started_s: float = field(default_factory=time.monotonic)

    @classmethod
    def open(cls, settings: Settings, rates: Rates, door: Door, registry: CollectorRegistry, counts: Counts) -> Parts:
        """Create or open every store. Raises StoreError when one cannot be used."""
        inbox = Inbox.open(settings.inbox_url)
        settings.heatmaps_root.mkdir(parents=True, exist_ok=True)
        check_shared(settings, inbox.engine, now())
        tables = Tables(settings.tables_root)
        dagster_url = str(settings.dagster_url) if settings.dagster_url else None
        free = partial(free_children, settings, inbox.engine)
        launcher = Launcher(inbox, dagster_url, settings.max_concurrent_runs, free, counts.dispatched.observe)
        figures = Figures(inbox)
        wanted = bool(settings.canary_rate)
        canaries = CanarySource.of(settings, Canaries(inbox.engine), CanaryCounts(registry)) if wanted else None
        epochs = Epochs(inbox.engine, tables)
        health, writer = Health(settings, inbox, tables), Writer(inbox.engine)
        links = Links.of(settings, inbox.engine)
        metrics = Metrics(
            settings,
            inbox,
            tables,
            registry,
            active=lambda: figures(fresh=False).active_miners,
            healthy=lambda: not health.reasons(),
        )
        return cls(
            settings=settings,
            inbox=inbox,
            outbox=Outbox(inbox.engine),
            users=_users(settings),
            tables=tables,
            launcher=launcher,
            rates=rates,
            door=door,
            handshakes=Handshakes(settings, Nonces(inbox.engine), shared=_shared_sessions(settings, inbox)),
            health=health,
            writer=writer,
            intake=Intake(settings, health, writer, launcher, links, metrics.progress.accepted, canaries),
            canaries=canaries,
            figures=figures,
            metrics=metrics,
            seals=Seals(tables, Submissions(inbox.engine)),
            epochs=epochs,
            receipts=Receipts(settings, inbox.engine, tables, epochs),
            outlook=Outlook(settings, inbox, health.reasons),
            listing=(listing := Listing(inbox.engine, canaries=not settings.pages_public)),
            days=Days(listing),
            standings=Standings(settings, inbox.engine),
            settled=SettledRounds(tables),
            vega=Vega(settings.home / "pages"),
        )

    def start(self) -> None:
        """Begin everything that runs beside requests; call it on the event loop."""
        self.launcher.start()
        self.writer.start()
        self.health.start()

    async def stop(self) -> None:
        """Let what is under way come to its end; what was answered with 201 is on disk already."""
        if self.canaries is not None:
            self.canaries.stop()
        await self.writer.stop()
        self.launcher.stop()
        self.handshakes.close()
        self.health.stop()
        self.outlook.close()

    def uptime_s(self) -> int:
        return int(time.monotonic() - self.started_s)


def _users(settings: Settings) -> Users:
    users = Users.open(settings.users_url)
    if settings.database_url is not None and (taken := users.take_along(settings.users_path)):
        logger.info("%d users of %s are in DATABASE_URL now", taken, settings.users_path)
    return users


def _shared_sessions(settings: Settings, inbox: Inbox) -> PushSessions | None:
    """Where there may be other ingresses, a challenge may come to another one than its key exchange."""
    return None if settings.database_url is None else PushSessions(inbox.engine, settings.intake_max_sessions)


def now() -> datetime:
    return datetime.now(UTC)


def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def _given(request: Request) -> Parts:
    """On the event loop: what is at hand needs no thread."""
    return parts_of(request)


PartsOf = Annotated[Parts, Depends(_given)]
