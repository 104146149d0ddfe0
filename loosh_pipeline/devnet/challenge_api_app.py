"""A stand-in of the network's Challenge API: takes response batches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from loosh_pipeline.devnet.http import refusal, request_body, too_large
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.bodies import BodyTooLarge
from loosh_pipeline.wire.codec import Fields, decode_object
from loosh_pipeline.wire.crypto import unseal
from loosh_pipeline.wire.messages import (
    API_HOTKEY_HEADER,
    API_UUID_HEADER,
    BATCH_PATH,
    KEY_EXCHANGE_PATH,
    PUBLIC_KEY_PATH,
    parse_api_key_exchange,
)
from loosh_pipeline.wire.sessions import HandshakeServer

MAX_BATCHES = 10_000


@dataclass(frozen=True, slots=True)
class ReceivedBatch:
    """One response batch as it arrived, and the hotkey whose session it came through."""

    challenge_id: str
    validator_hotkey: str
    received_at: datetime
    payload: Mapping[str, Any]


class Batches:
    """Batches by challenge id; beyond `max_batches` the oldest is forgotten."""

    def __init__(self, max_batches: int = MAX_BATCHES) -> None:
        self._max_batches = max_batches
        self._by_challenge: OrderedDict[str, ReceivedBatch] = OrderedDict()

    def add(self, batch: ReceivedBatch) -> bool:
        """False when a batch of this challenge is there already; the first one stands."""
        if batch.challenge_id in self._by_challenge:
            return False
        self._by_challenge[batch.challenge_id] = batch
        if len(self._by_challenge) > self._max_batches:
            self._by_challenge.popitem(last=False)
        return True

    def all(self) -> tuple[ReceivedBatch, ...]:
        return tuple(self._by_challenge.values())


class _ChallengeApi:
    """The endpoints and what they share."""

    def __init__(self, handshakes: HandshakeServer, batches: Batches) -> None:
        self._handshakes = handshakes
        self._batches = batches

    async def public_key(self, request: Request) -> Response:
        return JSONResponse({"public_key": self._handshakes.public_pem})

    async def key_exchange(self, request: Request) -> Response:
        body = await request_body(request)
        try:
            self._handshakes.open_session(parse_api_key_exchange(body))
        except CryptoError as error:
            return refusal(400, f"Failed to exchange symmetric key: {error}")
        except WireError as error:
            return refusal(422, str(error))
        return JSONResponse({"success": True, "message": "Symmetric key exchanged successfully"})

    async def response_batch(self, request: Request) -> Response:
        hotkey, key_uuid = request.headers.get(API_HOTKEY_HEADER), request.headers.get(API_UUID_HEADER)
        if hotkey is None or key_uuid is None:
            return refusal(422, f"headers {API_HOTKEY_HEADER} and {API_UUID_HEADER} are required")
        key = self._handshakes.session_key(hotkey, key_uuid)
        if key is None:
            return refusal(401, "Symmetric key is unknown or expired")
        token = await request_body(request)
        try:
            batch = _parse_batch(unseal(key, token), hotkey)
        except CryptoError:
            return refusal(401, "Failed to decrypt payload. Key may be expired or invalid.")
        except WireError as error:
            return refusal(400, str(error))
        if not self._batches.add(batch):
            return refusal(409, f"Challenge {batch.challenge_id} already has responses")
        return JSONResponse({"success": True, "challenge_id": batch.challenge_id}, status_code=201)

    async def received(self, request: Request) -> Response:
        return JSONResponse(
            [
                {
                    "challenge_id": batch.challenge_id,
                    "validator_hotkey": batch.validator_hotkey,
                    "received_at": batch.received_at.isoformat(),
                    "payload": batch.payload,
                }
                for batch in self._batches.all()
            ]
        )


def create_challenge_api_app(*, handshakes: HandshakeServer | None = None, batches: Batches | None = None) -> Starlette:
    """The app. It speaks the encrypted routes only, so a fallback to clear text fails with 404."""
    api = _ChallengeApi(handshakes or HandshakeServer(), Batches() if batches is None else batches)
    return Starlette(
        routes=[
            Route(PUBLIC_KEY_PATH, api.public_key),
            Route(KEY_EXCHANGE_PATH, api.key_exchange, methods=["POST"]),
            Route(BATCH_PATH, api.response_batch, methods=["POST"]),
            Route("/received", api.received),
        ],
        exception_handlers={BodyTooLarge: too_large},
    )


def _parse_batch(plaintext: bytes, hotkey: str) -> ReceivedBatch:
    """A batch with the parts that the network needs. Raises WireError."""
    payload = decode_object(plaintext, "response batch")
    fields = Fields(payload, "response batch")
    if fields.optional_objects("responses") is None or fields.optional_object("evaluation") is None:
        raise WireError("response batch: responses and evaluation are required")
    if fields.text("validator_hotkey", 64) != hotkey:
        raise WireError(f"response batch: validator_hotkey is not {hotkey}, whose session this is")
    return ReceivedBatch(fields.text("challenge_id", 128), hotkey, datetime.now(UTC), payload)
