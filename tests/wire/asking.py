"""Asking scripted miners over real loopback sockets, and the ways in which they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet

from loosh_pipeline.domain import Neuron, Response
from loosh_pipeline.wire.addresses import AddressRules
from loosh_pipeline.wire.client_sessions import Session, SessionBook, peer_name
from loosh_pipeline.wire.crypto import new_symmetric_key, seal
from loosh_pipeline.wire.miner_client import ask_miners
from tests import builders
from tests.wire.peers import VALIDATOR, Asked, HostileMiner, Scripted, http, http_json, listening

HANDSHAKE = ["public-key", "key-exchange"]


ONCE = [*HANDSHAKE, "challenge"]


RENEWED = [*ONCE, *ONCE]


RENEWED_INLINE = [*ONCE, "key-exchange", "challenge"]


MAX_BYTES = 100_000


HERE = AddressRules(allow_private=True)


def ask(miner: HostileMiner, *, kept: bool = False, **options: Any) -> Response:
    """Ask one miner; with `kept` under a session of an earlier round, which it does not know any more."""

    async def scenario() -> Response:
        async with listening(miner.serve) as port:
            neuron = builders.neuron(port=port)
            if kept:
                name = peer_name(VALIDATOR.ss58_address, neuron.hotkey, f"http://127.0.0.1:{port}")
                session = Session(new_symmetric_key(), "kept", datetime.now(UTC) + timedelta(minutes=30))
                options["sessions"] = SessionBook({name: session})
            (response,) = await ask_all([neuron], **options)
            return response

    return asyncio.run(scenario())


async def ask_all(
    neurons: Sequence[Neuron],
    timeout_s: float = 5.0,
    rules: AddressRules = HERE,
    sessions: SessionBook | None = None,
    max_bytes: int = MAX_BYTES,
    **fields: Any,
) -> tuple[Response, ...]:
    return await ask_miners(
        neurons,
        builders.challenge(**fields),
        signer=VALIDATOR,
        timeout_s=timeout_s,
        max_response_bytes=max_bytes,
        rules=rules,
        sessions=sessions,
    )


def says(plaintext: bytes, **headers: str) -> Scripted:
    return lambda asked: asked.answer(plaintext, **headers)


def sends(raw: bytes) -> Scripted:
    return lambda asked: raw


def refuses(status: int, detail: str = "no", **fields: Any) -> Scripted:
    return sends(http_json(status, {"detail": detail, **fields}))


async def hang(asked: Asked) -> bytes:
    await asyncio.sleep(60)
    return b""


def foreign_token(asked: Asked) -> bytes:
    return http(200, seal(new_symmetric_key(), b'{"response_text": "x"}'))


def stale_token(asked: Asked) -> bytes:
    token = Fernet(asked.key).encrypt_at_time(b'{"response_text": "x"}', int(time.time()) - 4000)
    return http(200, token)
