"""A stand-in of the network's Challenge API: takes what validators tell, says what it is asked, pushes challenges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loosh_pipeline.devnet import api_bodies as bodies
from loosh_pipeline.devnet.api_endpoints import ApiSays, Endpoints
from loosh_pipeline.devnet.api_record import Record
from loosh_pipeline.devnet.api_switches import Endpoint, Switches, Turn
from loosh_pipeline.devnet.http import refusal, request_body, too_large
from loosh_pipeline.errors import DevnetError, WireError
from loosh_pipeline.wire.api_calls import (
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
from loosh_pipeline.wire.codec import Fields, decode_object, encode_json
from loosh_pipeline.wire.crypto import Signer
from loosh_pipeline.wire.headers import signature_headers
from loosh_pipeline.wire.messages import BATCH_PATH, KEY_EXCHANGE_PATH, PUBLIC_KEY_PATH, new_uuid
from loosh_pipeline.wire.sessions import HandshakeServer

CHALLENGES_PATH = "/challenges"
NEW_CHALLENGE_PATH = "/challenge"
ACTIVE_HOTKEYS_PATH = "/validators/active-hotkeys"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a validator said to one challenge: its status, or why there was none."""

    status: int | None
    error: str = ""


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
            Route("/switches", _switching(switches), methods=["POST"]),
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


def _switching(switches: Switches) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            fields = Fields(decode_object(await request_body(request), "switches"), "switches")
            turns = [Turn.of(each) for each in fields.optional_objects("turns") or ()]
            switches.set(fields.text("path", 128), turns)
        except WireError as error:
            return refusal(422, str(error))
        return JSONResponse({"success": True})

    return endpoint


def _restarting(endpoints: Endpoints) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        endpoints.restart()
        return JSONResponse({"success": True})

    return endpoint


async def push_challenges(
    prompts: Iterable[str],
    validator_url: str,
    rate_per_s: float,
    *,
    signer: Signer | None = None,
    parameters: Mapping[str, Any] | None = None,
    timeout_s: float = 10.0,
) -> dict[str, Pushed]:
    """Push one challenge a prompt to a validator, evenly at `rate_per_s`; what it said, by challenge id.

    A challenge is sent when its time has come, whether or not earlier ones were answered, as a network of
    requesters would. `parameters` go into every challenge (`model`, `max_tokens`, …). With a signer the calls
    carry the hotkey signature headers. Never raises for what the validator does; a rate of zero or below is a
    DevnetError.
    """
    if rate_per_s <= 0:
        raise DevnetError(f"rate_per_s is {rate_per_s}; give a rate above zero")
    started_s = time.monotonic()
    url = validator_url.rstrip("/") + CHALLENGES_PATH
    tasks: dict[str, asyncio.Task[Pushed]] = {}
    limits = httpx.Limits(max_connections=100)
    async with (
        httpx.AsyncClient(timeout=timeout_s, limits=limits, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        for number, prompt in enumerate(prompts):
            await asyncio.sleep(max(0.0, started_s + number / rate_per_s - time.monotonic()))
            challenge_id = new_uuid()
            body = encode_json({**(parameters or {}), "id": challenge_id, "prompt": prompt})
            tasks[challenge_id] = group.create_task(_push(client, url, body, signer))
    return {challenge_id: task.result() for challenge_id, task in tasks.items()}


async def _push(client: httpx.AsyncClient, url: str, body: bytes, signer: Signer | None) -> Pushed:
    headers = {"Content-Type": "application/json"}
    if signer is not None:
        headers |= signature_headers(signer, body, now_s=time.time())
    try:
        answer = await client.post(url, content=body, headers=headers)
    except httpx.HTTPError as error:
        return Pushed(None, f"{type(error).__name__}: {error}")
    return Pushed(answer.status_code, "" if answer.is_success else answer.text[:200])
