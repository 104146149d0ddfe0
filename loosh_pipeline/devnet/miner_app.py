"""The HTTP server of one devnet miner: the network's endpoints and status codes, a scripted mind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import OrderedDict, deque
from collections.abc import Collection

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from loosh_pipeline.devnet.behaviours import MinerScript, Reply
from loosh_pipeline.devnet.faults import Fault, Struck, faulty_answer, unknown_key
from loosh_pipeline.devnet.http import refusal, request_body, too_large
from loosh_pipeline.domain import Hotkey, Usage
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.bodies import BodyTooLarge
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.crypto import seal, unseal
from loosh_pipeline.wire.messages import (
    CHALLENGE_PATH,
    KEY_EXCHANGE_PATH,
    MINER_HOTKEY_HEADER,
    MINER_UUID_HEADER,
    MINER_VALIDATOR_HEADER,
    PUBLIC_KEY_PATH,
    Answer,
    build_answer,
    parse_challenge,
    parse_miner_key_exchange,
    verify_binding,
)
from loosh_pipeline.wire.sessions import HandshakeServer

_MAX_REMEMBERED = 4096


class ChallengeCounter:
    """Numbers distinct challenges from 1. One that is sent again keeps its number.

    A validator sends a challenge again after an answer it could not decrypt; were that counted, a miner that
    fails every second time would be seen to fail never.
    """

    def __init__(self, max_remembered: int = _MAX_REMEMBERED) -> None:
        self._max_remembered = max_remembered
        self._numbers: OrderedDict[bytes, int] = OrderedDict()
        self._count = 0

    def number(self, plaintext: bytes) -> int:
        digest = hashlib.sha256(plaintext).digest()
        if digest not in self._numbers:
            self._count += 1
            self._numbers[digest] = self._count
            if len(self._numbers) > self._max_remembered:
                self._numbers.popitem(last=False)
        return self._numbers[digest]


class _Miner:
    """The endpoints of one miner and what they share."""

    def __init__(
        self,
        hotkey: Hotkey,
        script: MinerScript,
        handshakes: HandshakeServer,
        validators: Collection[str] | None,
        require_binding: bool,
    ) -> None:
        self._hotkey = hotkey
        self._script = script
        self._handshakes = handshakes
        self._validators = validators
        self._require_binding = require_binding
        self._counter = ChallengeCounter()
        self._received: deque[dict[str, object]] = deque(maxlen=_MAX_REMEMBERED)
        self._restarts = script.fault is Fault.RESTART

    async def availability(self, request: Request) -> Response:
        if self._script.fault is Fault.ODD_AVAILABILITY:
            return PlainTextResponse("up and running")
        return JSONResponse({"available": True})

    async def public_key(self, request: Request) -> Response:
        if self._script.fault is Fault.CHALLENGE_DEAD:
            return refusal(500, "Internal server error")
        return JSONResponse({"public_key": self._handshakes.public_pem})

    async def key_exchange(self, request: Request) -> Response:
        body = await request_body(request)
        try:
            exchange = parse_miner_key_exchange(body)
        except WireError as error:
            return refusal(422, str(error))
        if not self._allows(exchange.hotkey):
            return refusal(403, "Validator hotkey is not whitelisted")
        try:
            verify_binding(exchange, self._hotkey, required=self._require_binding)
            self._handshakes.open_session(exchange)
        except CryptoError as error:
            return refusal(400, f"Failed to exchange symmetric key: {error}")
        return JSONResponse({"success": True, "message": "Symmetric key exchanged"})

    async def received(self, request: Request) -> Response:
        """The challenges that could be read, and by this machine's clock when the head of each request had come."""
        return JSONResponse(list(self._received))

    async def challenge(self, request: Request) -> Response:
        received_at_s = time.time()
        validator = request.headers.get(MINER_VALIDATOR_HEADER)
        key_uuid = request.headers.get(MINER_UUID_HEADER)
        if validator is None or key_uuid is None:
            return refusal(422, f"headers {MINER_VALIDATOR_HEADER} and {MINER_UUID_HEADER} are required")
        if not self._allows(validator):
            return refusal(403, "Validator hotkey is not whitelisted")
        if self._restarts:
            self._restarts, self._handshakes = False, HandshakeServer()
        key = self._handshakes.session_key(validator, key_uuid)
        if key is None:
            return unknown_key(self._handshakes.public_pem)
        token = await request_body(request)
        try:
            plaintext = unseal(key, token)
        except CryptoError:
            return refusal(401, "Failed to decrypt payload")
        return await self._answer(key, key_uuid, plaintext, received_at_s)

    async def _answer(self, key: bytes, key_uuid: str, plaintext: bytes, received_at_s: float) -> Response:
        try:
            asked = parse_challenge(plaintext)
        except WireError as error:
            return refusal(400, str(error))
        self._received.append({"prompt": asked.prompt, "received_at_s": received_at_s})
        struck = Struck(key, self._handshakes.public_pem)
        if (faulty := await faulty_answer(self._script.fault, struck)) is not None:
            return faulty
        reply = self._script.reply(asked.prompt, self._counter.number(plaintext))
        await asyncio.sleep(reply.delay_s)
        body = os.urandom(256) if reply.corrupt else seal(key, _encoded(asked.prompt, reply))
        headers = {MINER_UUID_HEADER: key_uuid, MINER_HOTKEY_HEADER: self._hotkey}
        return Response(body, media_type="application/octet-stream", headers=headers)

    def _allows(self, hotkey: str) -> bool:
        return self._validators is None or hotkey in self._validators


def create_miner_app(
    hotkey: Hotkey,
    script: MinerScript,
    *,
    handshakes: HandshakeServer | None = None,
    validators: Collection[str] | None = None,
    require_binding: bool = False,
) -> Starlette:
    """The app of one miner. `validators` is its allowlist (None: anyone who can sign).

    `require_binding` refuses handshakes that are not bound to this miner, which the network's present
    validators do not send.
    """
    miner = _Miner(hotkey, script, handshakes or HandshakeServer(), validators, require_binding)
    return Starlette(
        routes=[
            Route("/availability", miner.availability),
            Route(PUBLIC_KEY_PATH, miner.public_key),
            Route(KEY_EXCHANGE_PATH, miner.key_exchange, methods=["POST"]),
            Route(CHALLENGE_PATH, miner.challenge, methods=["POST"]),
            Route("/received", miner.received),
        ],
        exception_handlers={BodyTooLarge: too_large},
    )


def _encoded(prompt: str, reply: Reply) -> bytes:
    """The answer with token counts as words: devnet miners have no tokenizer."""
    asked, said = len(prompt.split()), len(reply.text.split())
    answer = Answer(reply.text, "stop", None, Usage(asked, said, asked + said))
    return encode_json(build_answer(answer, response_time_ms=round(reply.delay_s * 1000)))
