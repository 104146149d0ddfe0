"""Asking miners: one challenge to many neurons at once, one response recorded for every one of them.

Talking and judging are apart: while miners are being timed nothing is parsed but the handshake, so that
one miner's enormous answer cannot make another look slow.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import httpx

from loosh_pipeline.domain import Challenge, Neuron, Outcome, Response
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.addresses import miner_url
from loosh_pipeline.wire.bodies import BodyTooLarge, read_body
from loosh_pipeline.wire.codec import Fields, decode_object, encode_json
from loosh_pipeline.wire.crypto import (
    Signer,
    encrypt_symmetric_key,
    load_public_key,
    new_symmetric_key,
    seal,
    unseal,
)
from loosh_pipeline.wire.messages import (
    CHALLENGE_PATH,
    KEY_EXCHANGE_PATH,
    MINER_HOTKEY_HEADER,
    MINER_UUID_HEADER,
    MINER_VALIDATOR_HEADER,
    PUBLIC_KEY_PATH,
    build_challenge,
    build_miner_key_exchange,
    new_uuid,
    parse_answer,
    parse_exchange_success,
    parse_public_key,
)

logger = logging.getLogger(__name__)

MAX_CONNECT_S = 10.0
MAX_CONTROL_BYTES = 64 * 1024
"""Cap on every body that is not an answer: public keys, key exchanges, refusals."""

_TOKEN_TTL_S = 3600
_MAX_DETAIL_CHARS = 160
_BY_STATUS: Mapping[int, Outcome] = {
    403: Outcome.REFUSED,
    429: Outcome.RATE_LIMITED,
    503: Outcome.UNAVAILABLE,
}
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "loosh-validator"}


@dataclass(frozen=True, slots=True)
class Session:
    """A symmetric key the miner agreed to, and the name it is known by."""

    key: bytes
    uuid: str


@dataclass(slots=True)
class _Times:
    """How long each part of asking took so far; `stage` says what is being waited for."""

    stage: str = "connecting"
    handshake_ms: float | None = None
    elapsed_ms: float | None = None


@dataclass(frozen=True, slots=True)
class _Peer:
    """One miner and everything that stays the same while it is asked."""

    neuron: Neuron
    base_url: str
    client: httpx.AsyncClient
    signer: Signer
    max_response_bytes: int
    times: _Times


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: httpx.Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came of talking to one miner: a decrypted answer, or the outcome that stands instead."""

    times: _Times
    plaintext: bytes | None = None
    outcome: Outcome = Outcome.ANSWERED
    detail: str = ""


class _Fault(Exception):
    """Asking ended without an answer."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


class _KeyRefused(_Fault):
    """The session was refused. A new one may help, once; `public_pem` is the key the miner offered for it."""

    def __init__(self, outcome: Outcome, detail: str, public_pem: str | None = None) -> None:
        super().__init__(outcome, detail)
        self.public_pem = public_pem


async def ask_miners(
    neurons: Sequence[Neuron],
    challenge: Challenge,
    *,
    signer: Signer,
    timeout_s: float,
    max_response_bytes: int,
    allow_private: bool,
) -> tuple[Response, ...]:
    """Ask all neurons at once. One response for each, in their order, whatever the miners do.

    The network part ends after `timeout_s`, handshakes included. `elapsed_ms` of a response is the time
    from sending the challenge to the last byte of the answer; `handshake_ms` is what came before.
    Raises WireError only for a challenge that cannot be encoded.
    """
    plaintext = encode_json(build_challenge(challenge))
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    async with _client(timeout_s) as client:

        async def hear(neuron: Neuron) -> _Heard:
            times = _Times()
            try:
                url = miner_url(neuron.ip, neuron.port, allow_private=allow_private)
                peer = _Peer(neuron, url, client, signer, max_response_bytes, times)
                return await _hear(peer, plaintext, deadline_s, timeout_s)
            except WireError as error:
                return _Heard(times, outcome=Outcome.BAD_ADDRESS, detail=str(error))
            except Exception as error:  # whatever one miner brings about, the others are heard
                logger.exception("asking %s failed unexpectedly (%s)", neuron.hotkey, times.stage)
                return _Heard(times, outcome=Outcome.HANDSHAKE_FAILED, detail=_unexpected(times.stage, error))

        heard = await asyncio.gather(*(hear(neuron) for neuron in neurons))
    return tuple(_judge(challenge, neuron, one) for neuron, one in zip(neurons, heard, strict=True))


def _client(timeout_s: float) -> httpx.AsyncClient:
    """A client for many strangers: no proxy from the environment, no redirects, no shared connection limit.

    The TLS context trusts nobody: the protocol is plain HTTP, and loading root certificates takes long.
    """
    return httpx.AsyncClient(
        headers=_HEADERS,
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s / 2, MAX_CONNECT_S)),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        follow_redirects=False,
        trust_env=False,
    )


async def _hear(peer: _Peer, plaintext: bytes, deadline_s: float, timeout_s: float) -> _Heard:
    """Talk to one miner until it answered or cannot; every way it can fail becomes an outcome."""
    times = peer.times
    try:
        async with asyncio.timeout_at(deadline_s):
            return _Heard(times, plaintext=await _converse(peer, plaintext))
    except _Fault as fault:
        return _Heard(times, outcome=fault.outcome, detail=fault.detail)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        return _Heard(times, outcome=Outcome.UNREACHABLE, detail=_detail("no connection", error))
    except (TimeoutError, httpx.TimeoutException):
        return _Heard(times, outcome=Outcome.TIMEOUT, detail=f"{times.stage}: nothing within {timeout_s:g} s")
    except BodyTooLarge as error:
        return _Heard(times, outcome=Outcome.TOO_LARGE, detail=_detail(times.stage, error))
    except WireError as error:
        return _Heard(times, outcome=Outcome.MALFORMED, detail=_detail(times.stage, error))
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return _Heard(times, outcome=Outcome.UNREACHABLE, detail=_detail(f"{times.stage}: connection lost", error))


async def _converse(peer: _Peer, plaintext: bytes) -> bytes:
    """The decrypted answer. A refused session is renewed once, never twice."""
    session = await _open_session(peer, None)
    try:
        return await _ask(peer, session, plaintext)
    except _KeyRefused as refused:
        session = await _open_session(peer, refused.public_pem)
        return await _ask(peer, session, plaintext)


async def _open_session(peer: _Peer, public_pem: str | None) -> Session:
    """Agree on a fresh key, under `public_pem` if the miner already sent its key."""
    peer.times.stage = "handshake"
    started_s = time.perf_counter()
    try:
        pem = public_pem if public_pem is not None else await _fetch_public_key(peer)
        session = await _exchange_key(peer, pem)
    except BodyTooLarge:
        raise
    except WireError as error:
        raise _Fault(Outcome.HANDSHAKE_FAILED, _detail("handshake", error)) from error
    peer.times.handshake_ms = (peer.times.handshake_ms or 0.0) + _ms_since(started_s)
    return session


async def _fetch_public_key(peer: _Peer) -> str:
    reply = await _send(peer, "GET", PUBLIC_KEY_PATH, MAX_CONTROL_BYTES)
    if not httpx.codes.is_success(reply.status):
        raise _handshake_refused(reply, "public key")
    return parse_public_key(reply.body)


async def _exchange_key(peer: _Peer, public_pem: str) -> Session:
    session = Session(new_symmetric_key(), new_uuid())
    body = build_miner_key_exchange(
        peer.signer,
        peer.neuron.hotkey,
        session.uuid,
        encrypt_symmetric_key(load_public_key(public_pem), session.key),
        timestamp_s=time.time(),
        nonce=new_uuid(),
    )
    headers = {"Content-Type": "application/json"}
    reply = await _send(peer, "POST", KEY_EXCHANGE_PATH, MAX_CONTROL_BYTES, encode_json(body), headers)
    if not httpx.codes.is_success(reply.status):
        raise _handshake_refused(reply, "key exchange")
    if not parse_exchange_success(reply.body):
        raise WireError("key exchange was answered without success")
    return session


async def _ask(peer: _Peer, session: Session, plaintext: bytes) -> bytes:
    """Send the challenge under `session`, timed. Raises _KeyRefused when a new session may help."""
    headers = {
        MINER_VALIDATOR_HEADER: peer.signer.ss58_address,
        MINER_UUID_HEADER: session.uuid,
        "Content-Type": "application/octet-stream",
    }
    token = seal(session.key, plaintext)
    peer.times.stage = "challenge"
    peer.times.elapsed_ms = None
    started_s = time.perf_counter()
    reply = await _send(peer, "POST", CHALLENGE_PATH, peer.max_response_bytes, token, headers)
    peer.times.elapsed_ms = _ms_since(started_s)
    if reply.status != 200:
        raise _challenge_refused(reply)
    _check_identity(peer, reply.headers)
    try:
        return unseal(session.key, reply.body, ttl_s=_TOKEN_TTL_S)
    except CryptoError as error:
        raise _KeyRefused(Outcome.UNDECRYPTABLE, str(error)) from error


async def _send(
    peer: _Peer,
    method: str,
    path: str,
    max_bytes: int,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> _Reply:
    """One request. Only the body of a success must be whole and plain; a refusal counts by its status."""
    url = peer.base_url + path
    async with peer.client.stream(method, url, content=content, headers=headers) as response:
        if response.is_success:
            body = await read_body(response, max_bytes)
        else:
            body = await _read_refusal(response)
        return _Reply(response.status_code, response.headers, body)


async def _read_refusal(response: httpx.Response) -> bytes:
    try:
        return await read_body(response, MAX_CONTROL_BYTES)
    except WireError:
        return b""


def _check_identity(peer: _Peer, headers: httpx.Headers) -> None:
    """An address whose server says it is another hotkey is not this neuron's address."""
    stated = headers.get(MINER_HOTKEY_HEADER)
    if stated is not None and stated != peer.neuron.hotkey:
        raise _Fault(Outcome.BAD_ADDRESS, f"the server there says it is {_printable(stated)}")


def _handshake_refused(reply: _Reply, what: str) -> _Fault:
    outcome = _BY_STATUS.get(reply.status, Outcome.HANDSHAKE_FAILED)
    return _Fault(outcome, _status_detail(reply, what))


def _challenge_refused(reply: _Reply) -> _Fault:
    detail = _status_detail(reply, "challenge")
    if reply.status == 401:
        return _KeyRefused(Outcome.HANDSHAKE_FAILED, detail, _offered_key(reply.body))
    if reply.status == 400:
        return _KeyRefused(Outcome.REFUSED, detail, _offered_key(reply.body))
    if reply.status in _BY_STATUS:
        return _Fault(_BY_STATUS[reply.status], detail)
    if reply.status >= 500:
        return _Fault(Outcome.UNAVAILABLE, detail)
    return _Fault(Outcome.REFUSED if reply.status >= 400 else Outcome.MALFORMED, detail)


def _offered_key(body: bytes) -> str | None:
    """The public key in a refusal that asks for a new handshake; None when it offers none."""
    try:
        fields = Fields(decode_object(body, "refusal"), "refusal")
        return fields.optional_text("public_key", 4096) if fields.flag("requires_handshake") else None
    except WireError:
        return None


def _status_detail(reply: _Reply, what: str) -> str:
    retry_after = reply.headers.get("retry-after")
    wait = f", retry after {_printable(retry_after)}" if retry_after else ""
    try:
        said = Fields(decode_object(reply.body, "refusal"), "refusal").optional_text("detail", MAX_CONTROL_BYTES)
    except WireError:
        said = None
    return f"{what}: HTTP {reply.status}{wait}" + (f": {_printable(said)}" if said else "")


def _judge(challenge: Challenge, neuron: Neuron, heard: _Heard) -> Response:
    """The response to record, from what was heard."""
    base = Response(
        challenge_id=challenge.id,
        hotkey=neuron.hotkey,
        coldkey=neuron.coldkey,
        uid=neuron.uid,
        ip=neuron.ip or "",
        port=neuron.port,
        outcome=heard.outcome,
        detail=heard.detail,
        elapsed_ms=heard.times.elapsed_ms,
        handshake_ms=heard.times.handshake_ms,
    )
    if heard.plaintext is None:
        return base
    base = replace(base, sha256=hashlib.sha256(heard.plaintext).hexdigest())
    try:
        answer = parse_answer(heard.plaintext)
    except WireError as error:
        return replace(base, outcome=Outcome.MALFORMED, detail=_printable(str(error)))
    except Exception as error:  # as while asking: one miner's answer cannot fail the others
        logger.exception("the answer of %s could not be read", neuron.hotkey)
        return replace(base, outcome=Outcome.MALFORMED, detail=_unexpected("answer", error))
    return replace(
        base,
        outcome=Outcome.EMPTY if answer.empty else Outcome.ANSWERED,
        text=answer.text,
        finish_reason=answer.finish_reason,
        tool_calls=answer.tool_calls,
        usage=answer.usage,
    )


def _detail(what: str, error: Exception) -> str:
    return f"{what}: {_printable(str(error) or type(error).__name__)}"


def _unexpected(what: str, error: Exception) -> str:
    return _detail(f"{what}: unexpected {type(error).__name__}", error)


def _printable(text: str) -> str:
    """A stranger's words, fit for a log line."""
    kept = "".join(char if char.isprintable() else "�" for char in text[:_MAX_DETAIL_CHARS])
    return kept if len(text) <= _MAX_DETAIL_CHARS else kept + "…"


def _ms_since(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000.0
