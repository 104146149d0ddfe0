"""The routes of the Challenge API as a strict server would have them: signatures verified, each used once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from loosh_pipeline.devnet import api_bodies as bodies
from loosh_pipeline.devnet.api_record import ReceivedBatch, ReceivedCall, Record
from loosh_pipeline.devnet.api_switches import Endpoint
from loosh_pipeline.devnet.http import refusal, request_body
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.api_calls import CLEAR_BATCH_HOTKEY_HEADER
from loosh_pipeline.wire.crypto import unseal
from loosh_pipeline.wire.headers import verify_signature_headers
from loosh_pipeline.wire.messages import API_HOTKEY_HEADER, API_UUID_HEADER, parse_api_key_exchange
from loosh_pipeline.wire.sessions import HandshakeServer, NonceMemory

SIGNED_WINDOW_S = 60.0
TOKEN_LIFE_S = 300

Taken = Callable[[dict[str, Any], str, str], Response]
"""What to do with a checked body, given the hotkey that sent it and the path."""


@dataclass(frozen=True, slots=True)
class ApiSays:
    """What the API answers of hotkeys: entries of /validators, and scores as objects, numbers or null.

    A hotkey without a score gets one of 0 and a weight of 1, as on a network without suspicion.
    """

    validators: Sequence[Mapping[str, Any]] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)


class Endpoints:
    """The routes, and what they share. `restart` forgets every session, as a restarted API does."""

    def __init__(self, handshakes: HandshakeServer, record: Record, says: ApiSays) -> None:
        self.record = record
        self._handshakes = handshakes
        self._nonces = NonceMemory()
        self._says = says

    def restart(self, handshakes: HandshakeServer | None = None) -> None:
        self._handshakes = handshakes or HandshakeServer()

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

    def sealed(self, what: str, check: bodies.Check, taken: Taken) -> Endpoint:
        """A route that takes encrypted bodies."""

        async def endpoint(request: Request) -> Response:
            hotkey, key_uuid = request.headers.get(API_HOTKEY_HEADER), request.headers.get(API_UUID_HEADER)
            if hotkey is None or key_uuid is None:
                return refusal(422, f"headers {API_HOTKEY_HEADER} and {API_UUID_HEADER} are required")
            key = self._handshakes.session_key(hotkey, key_uuid)
            if key is None:
                return refusal(401, "Symmetric key is unknown or expired")
            try:
                plaintext = unseal(key, await request_body(request), ttl_s=TOKEN_LIFE_S)
            except CryptoError:
                return refusal(401, "Failed to decrypt payload. Key may be expired or invalid.")
            return _checked(plaintext, what, check, taken, hotkey, request.url.path)

        return endpoint

    def signed(self, what: str, check: bodies.Check, taken: Taken) -> Endpoint:
        """A route that takes bodies in clear, signed by a hotkey."""

        async def endpoint(request: Request) -> Response:
            body = await request_body(request)
            hotkey = self._signer(request, body)
            if isinstance(hotkey, Response):
                return hotkey
            return _checked(body, what, check, taken, hotkey, request.url.path)

        return endpoint

    async def validators(self, request: Request) -> Response:
        hotkey = self._signer(request, await request_body(request))
        return hotkey if isinstance(hotkey, Response) else JSONResponse([dict(each) for each in self._says.validators])

    async def active_hotkeys(self, request: Request) -> Response:
        return JSONResponse([{"hotkey_ss58": each["hotkey_ss58"]} for each in self._says.validators])

    def sybil_scores(self, payload: dict[str, Any], hotkey: str, path: str) -> Response:
        default = {"sybil_score": 0.0, "priority_weight": 1.0}
        return JSONResponse(
            {"scores": {each: self._says.scores.get(each, default) for each in payload["miner_hotkeys"]}}
        )

    def batch(self, payload: dict[str, Any], hotkey: str, path: str) -> Response:
        return self._batch(payload, hotkey, encrypted=True)

    async def clear_batch(self, request: Request) -> Response:
        if request.headers.get(CLEAR_BATCH_HOTKEY_HEADER) is None:
            return refusal(422, f"header {CLEAR_BATCH_HOTKEY_HEADER} is required")
        return await self.signed("response batch", bodies.check_batch, self._clear_batch)(request)

    def noticing(self, clear_batch: Endpoint) -> Endpoint:
        """The route for results in clear text, counting also those that it refuses."""

        async def endpoint(request: Request) -> Response:
            self.record.clear_text_batches += 1
            return await clear_batch(request)

        return endpoint

    def kept(self, payload: dict[str, Any], hotkey: str, path: str) -> Response:
        """Anything else: taken and recorded."""
        self.record.calls.append(ReceivedCall(path, hotkey, payload))
        return JSONResponse({"success": True, **_counted(payload)}, status_code=201)

    async def received(self, request: Request) -> Response:
        return JSONResponse(
            [
                {
                    "challenge_id": batch.challenge_id,
                    "validator_hotkey": batch.validator_hotkey,
                    "received_at": batch.received_at.isoformat(),
                    "encrypted": batch.encrypted,
                    "payload": batch.payload,
                }
                for batch in self.record.batches.all()
            ]
        )

    async def recorded(self, request: Request) -> Response:
        calls = [{"path": call.path, "hotkey": call.hotkey, "payload": call.payload} for call in self.record.calls]
        return JSONResponse(
            {
                "clear_text_batches": self.record.clear_text_batches,
                "repeated_batches": self.record.repeated_batches,
                "contradicting_batches": self.record.contradicting_batches,
                "calls": calls,
            }
        )

    def _clear_batch(self, payload: dict[str, Any], hotkey: str, path: str) -> Response:
        return self._batch(payload, hotkey, encrypted=False)

    def _batch(self, payload: dict[str, Any], hotkey: str, *, encrypted: bool) -> Response:
        challenge_id = payload["challenge_id"]
        if not self.record.batches.add(ReceivedBatch(challenge_id, hotkey, datetime.now(UTC), payload, encrypted)):
            self.record.repeated_batches[challenge_id] += 1
            first = self.record.batches.of(challenge_id)
            if first is not None and first.payload != payload:
                self.record.contradicting_batches[challenge_id] += 1
            return refusal(409, f"Challenge {challenge_id} already has responses")
        return JSONResponse({"success": True, "challenge_id": challenge_id}, status_code=201)

    def _signer(self, request: Request, body: bytes) -> str | Response:
        """Who signed a request that was not seen before; the refusal otherwise."""
        now_s = time.time()
        try:
            call = verify_signature_headers(request.headers, body, now_s=now_s, window_s=SIGNED_WINDOW_S)
            until_s = now_s + 2 * SIGNED_WINDOW_S
            self._nonces.use(call.hotkey, call.nonce, now_s=now_s, alive_until_s=until_s)
        except WireError as error:
            return refusal(401, str(error))
        return call.hotkey


def _checked(body: bytes, what: str, check: bodies.Check, taken: Taken, hotkey: str, path: str) -> Response:
    try:
        payload = bodies.parsed(body, what, check, hotkey)
    except WireError as error:
        return refusal(400, str(error))
    return taken(payload, hotkey, path)


def _counted(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What the network's API adds to its answer, by what it was told."""
    counts = {"records": "inserted_count", "observations": "upserted"}
    return {counts[name]: len(payload[name]) for name in counts if name in payload} | (
        {"filename": payload["filename"]} if "filename" in payload else {}
    )
