"""A stand-in of the network's Challenge API: takes what validators tell, and says what it is asked."""

from __future__ import annotations

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loosh_pipeline.devnet import api_bodies as bodies
from loosh_pipeline.devnet.api_endpoints import ApiSays, Endpoints
from loosh_pipeline.devnet.api_record import Record
from loosh_pipeline.devnet.api_switches import Endpoint, Switches, Turn
from loosh_pipeline.devnet.http import refusal, request_body, too_large
from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.api_calls import (
    ACTIVE_HOTKEYS_PATH,
    CALLBACK_PATH,
    CLEAR_BATCH_PATH,
    HEATMAP_PATH,
    NETWORK_REPORT_PATH,
    PENALTY_REPORT_PATH,
    SYBIL_REPORT_PATH,
    SYBIL_SCORES_PATH,
    VALIDATORS_PATH,
)
from loosh_pipeline.wire.bodies import BodyTooLarge
from loosh_pipeline.wire.codec import Fields, decode_object
from loosh_pipeline.wire.messages import BATCH_PATH, KEY_EXCHANGE_PATH, PUBLIC_KEY_PATH
from loosh_pipeline.wire.sessions import HandshakeServer

NEW_CHALLENGE_PATH = "/challenge"


def create_challenge_api_app(
    *,
    handshakes: HandshakeServer | None = None,
    record: Record | None = None,
    switches: Switches | None = None,
    says: ApiSays | None = None,
) -> Starlette:
    """The app. What it was told stands in `record` and under /received and /record.

    `switches` make its routes fail; so does `POST /switches` with `{"path", "turns": [{"status", "retry_after",
    "hang"}]}`. `POST /restart` makes it forget every session.
    """
    switches = switches or Switches()
    endpoints = Endpoints(handshakes or HandshakeServer(), record or Record(), says or ApiSays())
    taking = {path: (endpoint, ["POST"]) for path, endpoint in _taking(endpoints).items()}
    asking = {VALIDATORS_PATH: (endpoints.validators, ["GET"]), PUBLIC_KEY_PATH: (endpoints.public_key, ["GET"])}
    switched = [Route(path, switches.guard(each), methods=how) for path, (each, how) in (taking | asking).items()]
    return Starlette(
        routes=[
            *switched,
            Route(CLEAR_BATCH_PATH, endpoints.noticing(switches.guard(endpoints.clear_batch)), methods=["POST"]),
            Route(ACTIVE_HOTKEYS_PATH, endpoints.active_hotkeys),
            Route("/received", endpoints.received),
            Route("/record", endpoints.recorded),
            Route("/switches", _switching(switches, {*taking, *asking, CLEAR_BATCH_PATH}), methods=["POST"]),
            Route("/restart", _restarting(endpoints), methods=["POST"]),
        ],
        exception_handlers={BodyTooLarge: too_large},
    )


def _taking(api: Endpoints) -> dict[str, Endpoint]:
    """The routes that take something."""
    return {
        KEY_EXCHANGE_PATH: api.key_exchange,
        BATCH_PATH: api.sealed("response batch", bodies.check_batch, api.batch),
        CALLBACK_PATH: api.sealed("callback", bodies.check_callback, api.kept),
        HEATMAP_PATH: api.sealed("upload", bodies.check_upload, api.kept),
        SYBIL_SCORES_PATH: api.signed("sybil scores", bodies.check_hotkeys, api.sybil_scores),
        SYBIL_REPORT_PATH: api.signed("sybil report", bodies.check_sybil_report, api.kept),
        NETWORK_REPORT_PATH: api.signed("network report", bodies.check_network_report, api.kept),
        PENALTY_REPORT_PATH: api.signed("penalty report", bodies.check_penalty_report, api.kept),
        NEW_CHALLENGE_PATH: api.signed("challenge", bodies.check_challenge, api.kept),
    }


def _switching(switches: Switches, paths: Collection[str]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            fields = Fields(decode_object(await request_body(request), "switches"), "switches")
            path, turns = fields.text("path", 128), fields.optional_objects("turns")
            if path not in paths:
                raise WireError(f"switches: there is no route {path!r}; there are {', '.join(sorted(paths))}")
            if turns is None:
                raise WireError("switches: turns is missing; give a list, an empty one to let the route behave")
            switches.set(path, [Turn.of(each) for each in turns])
        except WireError as error:
            return refusal(422, str(error))
        return JSONResponse({"success": True, "path": path, "turns": len(turns)})

    return endpoint


def _restarting(endpoints: Endpoints) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        endpoints.restart()
        return JSONResponse({"success": True})

    return endpoint
