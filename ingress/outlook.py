"""Everything around this ingress that the overview tells: what is wrong, the chain, the processes of this validator.

It is looked at in a thread of its own while somebody reads the page: whatever hangs, such as Dagster or a broker, holds
no page up, and nothing is asked while nobody looks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from loosh_pipeline.alerting.conditions import Alert, Seen, Severity, Source, standing_alerts
from loosh_pipeline.alerting.look import Watch
from loosh_pipeline.chain_status import facts, unreached
from loosh_pipeline.settings import Settings
from loosh_pipeline.status import broker_facts, hosts_facts, processes_facts
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.supervisor import Death

logger = logging.getLogger(__name__)

KEPT_S = 2.0
WITHIN_S = 0.15
"""How long a page waits for a new look; then it tells what was seen before."""
CHAIN_EVERY_S = 10.0
STALE_S = 30.0
"""What was seen longer ago is told no more: as long as nothing newer is seen, nothing is known."""
HANGS_S = 20.0
"""A look takes a second or two; one that lasts longer than this is told itself."""
OF_THE_CHAIN = frozenset({"endpoint", "alerts"})
"""Facts that are not kept: an address, and what is told in another form."""


@dataclass(frozen=True, slots=True)
class View:
    """What was seen at `at`. `chain`: facts as `loosh status --json` names them, and whether
    it was `reached`; empty where nothing is known. `blind`: what could not be looked at, and why.
    """

    at: datetime
    alerts: Sequence[Alert]
    chain: Mapping[str, Any]
    processes: Sequence[Mapping[str, Any]]
    broker: Mapping[str, Any] | None
    hosts: Sequence[Mapping[str, Any]]
    blind: Mapping[Source, str]
    deaths: Mapping[str, Sequence[Death]] = field(default_factory=dict)
    """How processes ended lately that nobody had asked to."""


class Outlook:
    """Looks again when what was seen last is older than KEPT_S and somebody asks. `health`: of this ingress."""

    def __init__(self, settings: Settings, inbox: Inbox, health: Callable[[], Sequence[str]]) -> None:
        self._settings, self._inbox = settings, inbox
        self._watch = Watch.of(settings, inbox=inbox, health=health, chain_every_s=CHAIN_EVERY_S)
        self._deciding = threading.Lock()
        self._looking = False
        self._looked = threading.Event()
        self._looked_s = self._began_s = float("-inf")
        self._view: View | None = None

    def __call__(self) -> View | None:
        """What was seen last; None while nothing was, for STALE_S. Waits no longer than WITHIN_S."""
        with self._deciding:
            if not self._looking and time.monotonic() - self._looked_s >= KEPT_S:
                self._looking, self._began_s = True, time.monotonic()
                self._looked.clear()
                threading.Thread(target=self._work, name="outlook", daemon=True).start()
        self._looked.wait(WITHIN_S)
        return self._told(time.monotonic())

    def _told(self, now_s: float) -> View | None:
        last, looking = self._view, self._looking
        fresh = last if now_s - self._looked_s < STALE_S else None
        for_s = now_s - self._began_s
        if not looking or for_s < HANGS_S:
            return fresh
        began = datetime.now(UTC) - timedelta(seconds=for_s)
        return _hangs(fresh or View(began if last is None else last.at, (), {}, (), None, (), {}), began)

    def close(self) -> None:
        self._watch.close()

    def _work(self) -> None:
        try:
            self._view = self._look(datetime.now(UTC))
        except Exception as error:  # whoever looks is told, in place of what could not be seen
            logger.exception("looking around failed")
            self._view = _nothing(datetime.now(UTC), error)
        finally:
            self._looked_s = time.monotonic()
            self._looking = False
            self._looked.set()

    def _look(self, now: datetime) -> View:
        seen = self._watch.look(now)
        return View(
            now,
            standing_alerts(seen),
            {} if Source.CHAIN in seen.blind else self._chain(),
            processes_facts(self._settings),
            broker_facts(self._settings),
            self._hosts(seen),
            seen.blind,
            seen.deaths,
        )

    def _chain(self) -> Mapping[str, Any]:
        standing = self._watch.standing
        if standing is None:
            return {}
        found = facts(standing, self._settings)
        told = {name: value for name, value in found.items() if name not in OF_THE_CHAIN}
        return told | {"reached": not unreached(standing, self._settings)}

    def _hosts(self, seen: Seen) -> Sequence[Mapping[str, Any]]:
        return () if Source.STORES in seen.blind else hosts_facts(self._settings, self._inbox.engine)


def _hangs(view: View, began: datetime) -> View:
    """The same, with word of a look that has not come back."""
    alert = Alert(
        "away:outlook",
        Source.PROCESSES,
        Severity.CRITICAL,
        f"this validator could not be looked at since {began:%Y-%m-%d %H:%M:%S} UTC: a look has not come back",
        "`loosh status` looks likewise and shows what hangs: Dagster, the broker, the database or a disk",
    )
    return replace(view, alerts=[alert, *view.alerts])


def _nothing(at: datetime, error: Exception) -> View:
    alert = Alert(
        "away:outlook",
        Source.PROCESSES,
        Severity.CRITICAL,
        f"this validator cannot be looked at ({type(error).__name__}: {error})",
        "LOOSH_HOME/logs/ingress.log says where",
    )
    return View(at, [alert], {}, (), None, (), {})
