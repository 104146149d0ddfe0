"""What the routers work with, built once when the app starts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from ingress.launcher import Launcher
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.outbox import Outbox
from loosh_pipeline.store.tables import Tables
from loosh_pipeline.store.users import Users


@dataclass(frozen=True, slots=True)
class Parts:
    """The stores and the launcher of one ingress."""

    settings: Settings
    inbox: Inbox
    outbox: Outbox
    users: Users
    tables: Tables
    launcher: Launcher
    started_s: float = field(default_factory=time.monotonic)

    @classmethod
    def open(cls, settings: Settings) -> Parts:
        """Create or open every store. Raises StoreError when one cannot be used."""
        inbox = Inbox.open(settings.inbox_url)
        settings.heatmaps_root.mkdir(parents=True, exist_ok=True)
        return cls(
            settings=settings,
            inbox=inbox,
            outbox=Outbox(inbox.engine),
            users=Users.open(settings.users_url),
            tables=Tables(settings.tables_root),
            launcher=Launcher(inbox, str(settings.dagster_url) if settings.dagster_url else None),
        )

    def uptime_s(self) -> int:
        return int(time.monotonic() - self.started_s)


def now() -> datetime:
    return datetime.now(UTC)


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsOf = Annotated[Parts, Depends(_parts)]
