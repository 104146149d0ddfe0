"""Taking a challenge: ready, understood, on disk, then launched. Both ways of sending one end here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.exceptions import HTTPException

from ingress.canaries import CanarySource, LeftOut
from ingress.health import Health
from ingress.launcher import Launcher
from ingress.links import Links
from ingress.rates import retry_after
from ingress.writer import StoreUnavailable, Writer
from loosh_pipeline.audit.acceptances import Link, Told
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.errors import DuplicateChallenge, NonceUsed
from loosh_pipeline.requests import ChallengeRequest, Limits
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.arrivals import Arrival
from loosh_pipeline.store.canaries import CanaryMark
from loosh_pipeline.store.nonces import Nonce
from loosh_pipeline.wire.headers import LINK_HEADER

STOPPED = (
    "the validator is stopped and takes no new challenges; on its machine, POST /set_running with content-type: "
    'application/json, a header master-hotkey and {"running": true} resumes it'
)
UNWELL_S = 15.0
STOPPED_S = 60.0
CANARY_BACKLOG = 0.5
"""The part of the backlog up to which a canary is taken."""
FULL_S = 60.0


class Intake:
    """The one way into the inbox. `accepted` hears of every challenge that is kept, `canaries` of every one pushed."""

    def __init__(
        self,
        settings: Settings,
        health: Health,
        writer: Writer,
        launcher: Launcher,
        links: Links,
        accepted: Callable[[str], object] = lambda _: None,
        canaries: CanarySource | None = None,
    ) -> None:
        self._canaries = canaries
        self._max_backlog = settings.intake_max_backlog
        self._health = health
        self._writer = writer
        self._launcher = launcher
        self._links = links
        self._accepted = accepted
        self.limits = Limits(
            prompt_chars=settings.intake_max_prompt_chars,
            message_chars=settings.intake_max_message_chars,
            json_chars=settings.intake_max_json_chars,
            json_depth=settings.intake_max_json_depth,
            tokens=settings.intake_max_tokens,
        )

    def open(self) -> bool:
        """Whether a challenge that comes now would be taken."""
        return not self._health.reasons() and self._health.waiting() < self._max_backlog

    async def require_open(self) -> None:
        """Raises 503 with every reason when no challenge is taken; looks again before it says so."""
        if self.open():
            return
        condition = await self._health.look_again()
        if not condition.running:
            raise unavailable(STOPPED, STOPPED_S)
        if reasons := self._health.reasons():
            raise unavailable("; ".join(reasons), UNWELL_S)
        if (waiting := self._health.waiting()) >= self._max_backlog:
            raise unavailable(f"{waiting} challenges wait already, which is as many as are kept waiting", FULL_S)

    async def take(self, request: ChallengeRequest, nonce: Nonce | None = None) -> Told:
        """Keep a challenge and have it evaluated; returns its link. Raises 401, 409 (with the link it has) or 503."""
        link = await self._keep(request, nonce=nonce)
        if self._canaries is not None:
            self._canaries.pushed(self._take_canary)
        return self._links.told(ChallengeId(request.id), link)

    async def _take_canary(self, request: ChallengeRequest, canary: CanaryMark) -> None:
        """Take one of our own, where it takes no place of another: not near the limit. Raises LeftOut, or 503."""
        if not self.open() or self._health.waiting() >= self._max_backlog * CANARY_BACKLOG:
            raise LeftOut("closed", "the intake is closed, or half full")
        await self._keep(request, canary=canary)

    async def _keep(
        self, request: ChallengeRequest, nonce: Nonce | None = None, canary: CanaryMark | None = None
    ) -> Link:
        now = datetime.now(UTC)
        arrival = Arrival(ChallengeId(request.id), request.stored(now), now, nonce, canary)
        try:
            link = await self._writer.keep(arrival)
        except DuplicateChallenge as error:
            told = await self._links.of_known(arrival.id)
            headers = None if told is None else {LINK_HEADER: str(told)}
            raise HTTPException(409, str(error), headers=headers) from error
        except NonceUsed as error:
            raise HTTPException(401, str(error)) from error
        except StoreUnavailable as error:
            raise unavailable(str(error), UNWELL_S) from error
        self._health.took_one()
        self._accepted(arrival.id)
        self._launcher.wake()
        return link


def unavailable(said: str, wait_s: float) -> HTTPException:
    return HTTPException(503, said, headers=retry_after(wait_s))
