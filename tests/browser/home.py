"""A validator that has seen everything a page may have to show, made by the product's own assets and stores.

Two epochs of weights, copies, failed asks, a canary, challenges in every state, more of them than a page holds, a
refused delivery, and strangers who write markup wherever a stranger can write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from sqlalchemy import select, update

from loosh_pipeline.domain import Challenge, ChallengeId, ChallengeState, Neuron, Outcome, Response
from loosh_pipeline.requests import ChallengeRequest
from loosh_pipeline.settings import Settings
from loosh_pipeline.store.arrivals import Arrival, commit_arrivals
from loosh_pipeline.store.canaries import CanaryMark
from loosh_pipeline.store.database import reading
from loosh_pipeline.store.inbox import Inbox
from loosh_pipeline.store.schema import challenges
from loosh_pipeline.wire.challenge_api_client import Delivery, DeliveryStatus
from loosh_pipeline.wire.fakes import FakeChallengeApi
from tests.audit.weighed import ANSWERS, weighed_home
from tests.claims import claim
from tests.world import ScriptedMiners, World

PWNED = "window.pwned=1"
MARKUP = (
    f"<script>{PWNED}</script><img src=x onerror={PWNED}><svg onload={PWNED}></svg>"
    f"<a href='javascript:{PWNED}' onmouseover={PWNED}>a link</a>\"'`><b onclick={PWNED} style=position:fixed>"
    "{{ 7 * 7 }} </script><!-- \u202egnp.exe \u2067 \u0000"
).replace("\u0000", "\ufffd")
LONG_LINE = "A" * 100_000
HOSTILE_ID = f'x"><script>{PWNED}</script>'
SKY = "The sky is blue during the day because air scatters blue light. "
HOSTILE_ANSWERS: Mapping[str, str | Outcome] = {
    **ANSWERS,
    "hotkey-2": SKY + LONG_LINE,
    "hotkey-66": SKY + MARKUP,
    "hotkey-67": f"[{SKY}](javascript:{PWNED}) {MARKUP * 3}",
}
CANARY = ChallengeId("canary-1")
FAILED, DISPATCHED, WAITING = ChallengeId("given-up"), ChallengeId("under-way"), ChallengeId("waiting-1")
EARLIER = 120
"""Challenges of days before, of which nothing but the inbox is left: more than a page of the list holds."""


@dataclass
class HostileMiners(ScriptedMiners):
    """Those whose failures and figures are markup, too."""

    def _response(self, asked: Neuron, challenge: Challenge) -> Response:
        found = super()._response(asked, challenge)
        return replace(found, detail=MARKUP if found.detail else "", finish_reason=MARKUP)


@dataclass(frozen=True, slots=True)
class Home:
    """`ids`: of all its challenges."""

    settings: Settings
    ids: frozenset[str]


@contextmanager
def eventful_home(path: Path, **environment: str) -> Iterator[Home]:
    """Its settings hold meanwhile."""
    with weighed_home(path, **environment) as settings:
        with dg.DagsterInstance.ephemeral() as instance:
            world = World(instance, ANSWERS)
            _earlier(world)
            _attacked(world)
            _put_in(world)
            _weigh_again(world)
            _unfinished(world)
            ids = _ids(world.store.inbox)
            world.store.close()
        yield Home(settings, ids)


def _earlier(world: World) -> None:
    """Told and done with."""
    names = [f"earlier-{number:03d}" for number in range(EARLIER)]
    for number, name in enumerate(names):
        world.accept(name, f"What was asked as number {number}?", world.began_at - timedelta(hours=50 + number))
    done = {"state": ChallengeState.SUBMITTED, "next_run_at": None}
    with world.store.inbox.engine.begin() as connection:
        connection.execute(update(challenges).where(challenges.c.id.in_(names)).values(done))


def _attacked(world: World) -> None:
    """A round of whose every text a stranger made markup, and whose result the Challenge API refuses with more."""
    world.miners = HostileMiners(HOSTILE_ANSWERS)
    world.api = FakeChallengeApi([Delivery(DeliveryStatus.REFUSED, f"HTTP 422: {MARKUP}")])
    request = ChallengeRequest(id=HOSTILE_ID, prompt=f"Why is the sky blue? {MARKUP}", model=MARKUP[:100])
    now = datetime.now(UTC)
    world.store.inbox.accept(ChallengeId(HOSTILE_ID), request.stored(now), now)
    world.evaluate(ChallengeId(HOSTILE_ID))
    world.miners, world.api = ScriptedMiners(ANSWERS), FakeChallengeApi()


def _put_in(world: World) -> None:
    """A canary, evaluated like others."""
    now = datetime.now(UTC)
    request = ChallengeRequest(id=CANARY, prompt="Which colour has the sky during the day?").stored(now)
    commit_arrivals(world.store.inbox.engine, [Arrival(CANARY, request, now, canary=CanaryMark(["blue"], "a" * 64))])
    world.evaluate(CANARY)


def _weigh_again(world: World) -> None:
    """A second epoch, in which one answers that was too slow before, and another does not any more."""
    world.miners = ScriptedMiners({**ANSWERS, "hotkey-1": Outcome.UNREACHABLE, "hotkey-4": SKY})
    for number in range(3):
        world.evaluate(world.accept(f"d-{number}", f"Why is the sky blue during the day? Once more, {number}."))
    world.chain.advance(1000)
    world.refresh_metagraph()
    assert world.set_weights().success


def _unfinished(world: World) -> None:
    """One that waits, one under way, and one that was given up with a reason of no good will."""
    now, inbox = datetime.now(UTC), world.store.inbox
    for each in (FAILED, DISPATCHED):
        world.accept(each, f"Who asks {each}?")
        assert claim(inbox, each, now + timedelta(seconds=5)) is not None
    inbox.retry(inbox.get(FAILED), f"Failure: {MARKUP} {LONG_LINE}", now, max_attempts=1)
    assert inbox.get(FAILED).state is ChallengeState.FAILED
    world.accept(WAITING, f"What is a long line? {LONG_LINE}")


def _ids(inbox: Inbox) -> frozenset[str]:
    with reading(inbox.engine) as connection:
        return frozenset(connection.execute(select(challenges.c.id)).scalars())
