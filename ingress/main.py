"""The ingress: commits challenges durably, says how the validator is, and shows its pictures."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import OperationalError
from starlette.requests import ClientDisconnect

from ingress.auth import Door
from ingress.counting import Counting
from ingress.express import Express
from ingress.limits import Gate
from ingress.metrics import registry_and_counts
from ingress.pages import challenges as challenge_pages
from ingress.pages import files, miner, miners, overview, rounds, sign_in, weights
from ingress.parts import Parts
from ingress.problems import gone, store_away, unprocessable
from ingress.rates import Rates
from ingress.routers import audit, availability, challenges, fiber, metrics, operator
from ingress.version import VERSION
from loosh_pipeline.pushers import who_may_push
from loosh_pipeline.settings import Settings, get_settings

logger = logging.getLogger(__name__)

ROUTERS = (
    *(challenges.router, fiber.router, availability.router, audit.router),
    *(operator.router, metrics.router),
    *(overview.router, challenge_pages.router, rounds.router, miners.router, miner.router, weights.router),
    *(files.everybody, files.router, sign_in.router),
)
REFUSALS = {RequestValidationError: unprocessable, OperationalError: store_away, ClientDisconnect: gone}


def create_app(settings: Settings) -> FastAPI:
    """The app over the stores that `settings` name; they are opened, and created, at start."""
    rates = Rates(settings)
    registry, counts = registry_and_counts()
    door = Door(settings, rates)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.parts = parts = Parts.open(settings, rates, door, registry, counts)
        logger.info(who_may_push(settings))
        parts.start()
        yield
        await parts.stop()

    app = FastAPIOffline(
        title="loosh ingress",
        version=VERSION,
        description="Accepts challenges for evaluation. What is answered with 201 is on disk and will be scored.\n\n"
        "[Back to the pages](./)",
        lifespan=lifespan,
    )
    app.add_middleware(Express)
    app.add_middleware(
        Gate,
        rates=rates,
        max_body_bytes=settings.intake_max_body_bytes,
        port=settings.api_port,
        proxies=settings.trusted_proxies,
        claim=door.claim,
    )
    app.add_middleware(Counting, counts=counts)
    for kind, answer in REFUSALS.items():
        app.add_exception_handler(kind, answer)
    for router in ROUTERS:
        app.include_router(router)
    return app


app = create_app(get_settings())
