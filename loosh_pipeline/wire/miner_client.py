"""Asking miners: one challenge to many neurons at once, one response recorded for every one of them.

Talking and judging are apart: while miners are being timed nothing is parsed but the handshake, so that
one miner's enormous answer cannot make another look slow.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from loosh_pipeline.domain import Challenge, Neuron, Outcome, Response
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.addresses import AddressRules
from loosh_pipeline.wire.bodies import BodyTooLarge
from loosh_pipeline.wire.client_sessions import SESSION_TTL, Session, SessionBook, peer_name
from loosh_pipeline.wire.codec import encode_json
from loosh_pipeline.wire.connection import MAX_CONTROL_BYTES, ConnectFailed, Connection, ConnectionLost, Reply
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
    Answer,
    build_challenge,
    build_miner_key_exchange,
    new_uuid,
    parse_answer,
    parse_exchange_success,
    parse_public_key,
)
from loosh_pipeline.wire.refusals import described, may_be_the_key, offered_key
from loosh_pipeline.wire.text import printable

logger = logging.getLogger(__name__)

MAX_CONNECT_S = 10.0

CHARS_A_TOKEN = 16
"""Most characters of an answer for each token asked for: some four in prose, up to a dozen in indentation and names."""
FREE_CHARS = 4096
"""What an answer may have beyond that, for miners that count otherwise and for the frame of tool calls."""

_TOKEN_TTL_S = 3600
_LONG_TOKEN_BYTES = 256 * 1024
"""Decrypting more takes long enough to be seen in the times of others, so it waits until all are in."""
_BY_STATUS: Mapping[int, Outcome] = {
    403: Outcome.REFUSED,
    429: Outcome.RATE_LIMITED,
    503: Outcome.UNAVAILABLE,
}


@dataclass(slots=True)
class _Times:
    """How long each part of asking took so far; `stage` says what is being waited for.

    `asked_at_s`, by the performance counter, is when the challenge was first sent.
    """

    stage: str = "connecting"
    asked_at_s: float | None = None
    handshake_ms: float | None = None
    elapsed_ms: float | None = None


@dataclass(frozen=True, slots=True)
class _Peer:
    """One miner and everything that stays the same while it is asked."""

    neuron: Neuron
    name: str
    connection: Connection
    signer: Signer
    sessions: SessionBook
    max_response_bytes: int
    times: _Times


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A long answer, to be decrypted when nobody is being timed any more."""

    key: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came of talking to one miner: its answer, or the outcome that stands instead."""

    times: _Times
    answer: bytes | _Sealed | None = None
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
    rules: AddressRules,
    sessions: SessionBook | None = None,
) -> tuple[Response, ...]:
    """Ask all neurons at once. One response for each, in their order, whatever the miners do.

    The network part ends after `timeout_s`, handshakes included. `elapsed_ms` of a response runs from the first byte
    of the challenge sent, also where that was refused and sent again under another key, to the last byte of the answer
    received; `handshake_ms` is what the handshake before that took. What becomes of sessions is noted in `sessions`,
    for the caller to keep. Raises WireError only for a challenge that cannot be encoded.
    """
    plaintext = encode_json(build_challenge(challenge))
    book = SessionBook() if sessions is None else sessions
    deadline_s = asyncio.get_running_loop().time() + timeout_s

    async def hear(neuron: Neuron) -> _Heard:
        times = _Times()
        try:
            endpoint = rules.endpoint(neuron.ip, neuron.port)
            name = peer_name(signer.ss58_address, neuron.hotkey, endpoint.url)
            async with Connection(endpoint, connect_timeout_s=min(timeout_s / 2, MAX_CONNECT_S)) as connection:
                peer = _Peer(neuron, name, connection, signer, book, max_response_bytes, times)
                return await _hear(peer, plaintext, deadline_s, timeout_s)
        except WireError as error:
            return _Heard(times, outcome=Outcome.BAD_ADDRESS, detail=str(error))
        except Exception as error:  # whatever one miner brings about, the others are heard
            logger.exception("asking %s failed unexpectedly (%s)", neuron.hotkey, times.stage)
            return _Heard(times, outcome=Outcome.HANDSHAKE_FAILED, detail=_unexpected(times.stage, error))

    heard = await asyncio.gather(*(hear(neuron) for neuron in neurons))
    await asyncio.sleep(0)  # the sockets that were closed last are gone before the loop is
    return tuple(_judge(challenge, neuron, one) for neuron, one in zip(neurons, heard, strict=True))


async def _hear(peer: _Peer, plaintext: bytes, deadline_s: float, timeout_s: float) -> _Heard:
    """Talk to one miner until it answered or cannot; every way it can fail becomes an outcome."""
    times = peer.times
    try:
        async with asyncio.timeout_at(deadline_s):
            return _Heard(times, await _converse(peer, plaintext))
    except _Fault as fault:
        return _Heard(times, outcome=fault.outcome, detail=fault.detail)
    except TimeoutError:
        return _Heard(times, outcome=Outcome.TIMEOUT, detail=f"{times.stage}: nothing within {timeout_s:g} s")
    except (ConnectFailed, ConnectionLost) as error:
        return _Heard(times, outcome=Outcome.UNREACHABLE, detail=_detail(times.stage, error))
    except BodyTooLarge as error:
        return _Heard(times, outcome=Outcome.TOO_LARGE, detail=_detail(times.stage, error))
    except WireError as error:
        return _Heard(times, outcome=Outcome.MALFORMED, detail=_detail(times.stage, error))


async def _converse(peer: _Peer, plaintext: bytes) -> bytes | _Sealed:
    """The answer, decrypted unless it is long. A refused session is renewed once, never twice.

    One that was opened a moment ago is not what a 400 is about.
    """
    kept = peer.sessions.get(peer.name)
    session = kept or await _open_session(peer, None)
    try:
        return await _ask(peer, session, plaintext)
    except _KeyRefused as refused:
        if kept is None and refused.outcome is Outcome.REFUSED:
            raise
        peer.sessions.drop(peer.name)
        session = await _open_session(peer, refused.public_pem)
    try:
        return await _ask(peer, session, plaintext)
    except _KeyRefused:
        peer.sessions.drop(peer.name)
        raise


async def _open_session(peer: _Peer, public_pem: str | None) -> Session:
    """Agree on a fresh key, under `public_pem` if the miner already sent its key."""
    peer.times.stage = "handshake"
    started_s = time.perf_counter()
    try:
        pem = public_pem if public_pem is not None else await _fetch_public_key(peer)
        session = await _exchange_key(peer, pem)
    except (ConnectFailed, ConnectionLost, BodyTooLarge):
        raise
    except WireError as error:
        raise _Fault(Outcome.HANDSHAKE_FAILED, _detail("handshake", error)) from error
    if peer.times.asked_at_s is None:  # one that a miner asks for after it was asked is part of the time it took
        peer.times.handshake_ms = _ms_since(started_s)
    peer.sessions.add(peer.name, session)
    return session


async def _fetch_public_key(peer: _Peer) -> str:
    reply = await peer.connection.request("GET", PUBLIC_KEY_PATH, max_bytes=MAX_CONTROL_BYTES)
    if not reply.is_success:
        raise _handshake_refused(reply, "public key")
    return parse_public_key(reply.body)


async def _exchange_key(peer: _Peer, public_pem: str) -> Session:
    session = Session(new_symmetric_key(), new_uuid(), datetime.now(UTC) + SESSION_TTL)
    body = build_miner_key_exchange(
        peer.signer,
        peer.neuron.hotkey,
        session.uuid,
        encrypt_symmetric_key(load_public_key(public_pem), session.key),
        timestamp_s=time.time(),
        nonce=new_uuid(),
    )
    reply = await peer.connection.request(
        "POST",
        KEY_EXCHANGE_PATH,
        max_bytes=MAX_CONTROL_BYTES,
        headers={"Content-Type": "application/json"},
        content=encode_json(body),
    )
    if not reply.is_success:
        raise _handshake_refused(reply, "key exchange")
    if not parse_exchange_success(reply.body):
        raise WireError("key exchange was answered without success")
    return session


async def _ask(peer: _Peer, session: Session, plaintext: bytes) -> bytes | _Sealed:
    """Send the challenge under `session`, timed. Raises _KeyRefused when a new session may help."""
    headers = {
        MINER_VALIDATOR_HEADER: peer.signer.ss58_address,
        MINER_UUID_HEADER: session.uuid,
        "Content-Type": "application/octet-stream",
    }
    token = seal(session.key, plaintext)
    peer.times.stage = "challenge"
    peer.times.elapsed_ms = None
    reply = await peer.connection.request(
        "POST", CHALLENGE_PATH, max_bytes=peer.max_response_bytes, headers=headers, content=token
    )
    if peer.times.asked_at_s is None:  # from then on a miner can know the challenge, whatever it refuses meanwhile
        peer.times.asked_at_s = reply.sent_at_s
    peer.times.elapsed_ms = (reply.received_at_s - peer.times.asked_at_s) * 1000.0
    if reply.status != 200:
        raise _challenge_refused(reply)
    _check_identity(peer, reply.headers)
    if len(reply.body) > _LONG_TOKEN_BYTES:
        return _Sealed(session.key, reply.body)
    try:
        return unseal(session.key, reply.body, ttl_s=_TOKEN_TTL_S)
    except CryptoError as error:
        raise _KeyRefused(Outcome.UNDECRYPTABLE, str(error)) from error


def _check_identity(peer: _Peer, headers: Mapping[str, str]) -> None:
    """An address whose server says it is another hotkey is not this neuron's address."""
    stated = headers.get(MINER_HOTKEY_HEADER)
    if stated is not None and stated != peer.neuron.hotkey:
        peer.sessions.drop(peer.name)
        raise _Fault(Outcome.BAD_ADDRESS, f"the server there says it is {printable(stated)}")


def _handshake_refused(reply: Reply, what: str) -> _Fault:
    outcome = _BY_STATUS.get(reply.status, Outcome.HANDSHAKE_FAILED)
    return _Fault(outcome, described(reply, what))


def _challenge_refused(reply: Reply) -> _Fault:
    detail = described(reply, "challenge")
    if reply.status == 401:
        return _KeyRefused(Outcome.HANDSHAKE_FAILED, detail, offered_key(reply))
    if reply.status == 400 and may_be_the_key(reply):
        return _KeyRefused(Outcome.REFUSED, detail, offered_key(reply))
    if reply.status in _BY_STATUS:
        return _Fault(_BY_STATUS[reply.status], detail)
    if reply.status >= 500:
        return _Fault(Outcome.UNAVAILABLE, detail)
    return _Fault(Outcome.REFUSED if reply.status >= 400 else Outcome.MALFORMED, detail)


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
    if heard.answer is None:
        return base
    try:
        plaintext = heard.answer if isinstance(heard.answer, bytes) else _opened(heard.answer)
        base = replace(base, sha256=hashlib.sha256(plaintext).hexdigest())
        answer = _within(challenge, parse_answer(plaintext))
    except CryptoError as error:
        return replace(base, outcome=Outcome.UNDECRYPTABLE, detail=str(error))
    except BodyTooLarge as error:
        return replace(base, outcome=Outcome.TOO_LARGE, detail=str(error))
    except WireError as error:
        return replace(base, outcome=Outcome.MALFORMED, detail=printable(str(error)))
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


def _within(challenge: Challenge, answer: Answer) -> Answer:
    """An answer that is about as long as was asked for: all answers of a round are told in one batch, which one miner
    could make too large for the receiver. Raises BodyTooLarge.
    """
    most = CHARS_A_TOKEN * challenge.max_tokens + FREE_CHARS
    chars = len(answer.text) + (len(encode_json(answer.tool_calls)) if answer.tool_calls else 0)
    if chars > most:
        raise BodyTooLarge(
            f"the answer has {chars} characters; at most {most} are taken for max_tokens {challenge.max_tokens}"
        )
    return answer


def _opened(sealed: _Sealed) -> bytes:
    return unseal(sealed.key, sealed.token, ttl_s=_TOKEN_TTL_S)


def _detail(what: str, error: Exception) -> str:
    return f"{what}: {printable(str(error) or type(error).__name__)}"


def _unexpected(what: str, error: Exception) -> str:
    return _detail(f"{what}: unexpected {type(error).__name__}", error)


def _ms_since(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000.0
