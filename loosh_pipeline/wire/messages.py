"""What is said inside the fiber protocol: key exchanges, challenges, answers.

Two dialects of the handshake, which differ in small ways that all matter:

    ==================  =====================================  ==================================
                        validator → miner                      validator → Challenge API
    ==================  =====================================  ==================================
    key coding          lowercase hexadecimal                  standard base64
    uuid field          symmetric_key_uuid                     key_uuid
    signed text         {timestamp}.{nonce}.{hotkey}           {timestamp}.{hotkey}.{key_uuid}
    signature           "0x" and 128 hexadecimal digits        128 hexadecimal digits, bare
    ==================  =====================================  ==================================

The timestamp in the signed text is Python's shortest repr of the double, whatever the JSON looked like.
Builders return JSON-ready dicts; parsers take bytes, check every type and size, and raise `WireError`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, ParamSpec, TypeVar

from loosh_pipeline.domain import Challenge, Hotkey, Usage
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.codec import Fields, decode_base64, decode_hex, decode_object
from loosh_pipeline.wire.crypto import (
    CIPHERTEXT_BYTES,
    SIGNATURE_BYTES,
    Signer,
    parse_hotkey,
    verify_signature,
)

T = TypeVar("T")
P = ParamSpec("P")

PUBLIC_KEY_PATH = "/fiber/public-key"
KEY_EXCHANGE_PATH = "/fiber/key-exchange"
CHALLENGE_PATH = "/fiber/challenge"
BATCH_PATH = "/fiber/response/batch"

MINER_VALIDATOR_HEADER = "x-fiber-validator-hotkey-ss58"
MINER_UUID_HEADER = "x-fiber-symmetric-key-uuid"
MINER_HOTKEY_HEADER = "x-fiber-miner-hotkey-ss58"
API_UUID_HEADER = "symmetric-key-uuid"
API_HOTKEY_HEADER = "hotkey-ss58-address"

MAX_TEXT_CHARS = 4 * 1024 * 1024
"""Longest text field decoded; the HTTP readers cap bodies well before that."""

_MAX_NAME_CHARS = 256
_MAX_TOKENS = 2**31 - 1
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(frozen=True, slots=True)
class KeyExchange:
    """A parsed request to open a session, of either dialect, not yet trusted.

    `message` is what `signature` must be over; `once` is the signed value that may be used only once.
    `binding` is the optional second signature, over the recipient and the ciphertext. `literal` is `message` with the
    time as the body wrote it, where that is another text.
    """

    hotkey: Hotkey
    key_uuid: str
    ciphertext: bytes
    timestamp_s: float
    once: str
    message: bytes
    signature: bytes
    binding: bytes | None = None
    literal: bytes | None = None


@dataclass(frozen=True, slots=True)
class ChallengeRequest:
    """A challenge as a miner reads it. `prompt` is the last user message if there are messages."""

    prompt: str
    max_tokens: int
    temperature: float
    top_p: float
    model: str | None
    tools: tuple[Mapping[str, Any], ...] | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A decrypted answer of a miner. The miner's own statement of its time is not read."""

    text: str
    finish_reason: str | None
    tool_calls: tuple[Mapping[str, Any], ...] | None
    usage: Usage

    @property
    def empty(self) -> bool:
        return not self.text.strip() and not self.tool_calls


def new_uuid() -> str:
    return str(uuid.uuid4())


def miner_signed_text(timestamp_s: float, nonce: str, hotkey: str) -> bytes:
    """What a validator signs to open a session at a miner."""
    return f"{timestamp_s!r}.{nonce}.{hotkey}".encode()


def api_signed_text(timestamp_s: float, hotkey: str, key_uuid: str) -> bytes:
    """What a validator signs to open a session at the Challenge API."""
    return f"{timestamp_s!r}.{hotkey}.{key_uuid}".encode()


def binding_text(signed: bytes, recipient: str, ciphertext: bytes) -> bytes:
    """What ties a handshake to one recipient's hotkey and one key, so that nobody can relay it to another."""
    return b".".join((signed, recipient.encode(), hashlib.sha256(ciphertext).hexdigest().encode()))


def build_miner_key_exchange(
    signer: Signer, miner_hotkey: str, key_uuid: str, ciphertext: bytes, *, timestamp_s: float, nonce: str
) -> dict[str, Any]:
    """The body that opens a session at a miner.

    `binding_signature` is an addition to the network's format, which miners that do not know it ignore.
    """
    signed = miner_signed_text(timestamp_s, nonce, signer.ss58_address)
    binding = signer.sign(binding_text(signed, miner_hotkey, ciphertext))
    return {
        "encrypted_symmetric_key": ciphertext.hex(),
        "symmetric_key_uuid": key_uuid,
        "timestamp": timestamp_s,
        "nonce": nonce,
        "signature": "0x" + signer.sign(signed).hex(),
        "validator_hotkey_ss58": signer.ss58_address,
        "binding_signature": "0x" + binding.hex(),
    }


def parse_miner_key_exchange(body: bytes) -> KeyExchange:
    """The body a miner receives. Types and sizes are checked, signatures are not. Raises WireError."""
    fields = Fields(decode_object(body, "key exchange"), "key exchange")
    hotkey = parse_hotkey(fields.text("validator_hotkey_ss58", _MAX_NAME_CHARS))
    timestamp_s = fields.number("timestamp")
    nonce = parse_token(fields, "nonce")
    binding = fields.optional_text("binding_signature", _MAX_NAME_CHARS)
    return KeyExchange(
        hotkey=hotkey,
        key_uuid=parse_token(fields, "symmetric_key_uuid"),
        ciphertext=decode_hex(
            fields.text("encrypted_symmetric_key", 4096), CIPHERTEXT_BYTES, "encrypted_symmetric_key"
        ),
        timestamp_s=timestamp_s,
        once=nonce,
        message=miner_signed_text(timestamp_s, nonce, hotkey),
        signature=parse_prefixed_signature(fields.text("signature", _MAX_NAME_CHARS)),
        binding=None if binding is None else parse_prefixed_signature(binding),
    )


def verify_binding(exchange: KeyExchange, recipient: str, *, required: bool = False) -> None:
    """Check the second signature where there is one. Raises CryptoError; also when a required one is missing."""
    if exchange.binding is not None:
        bound = binding_text(exchange.message, recipient, exchange.ciphertext)
        verify_signature(bound, exchange.binding, exchange.hotkey)
    elif required:
        raise CryptoError("binding_signature is missing; one is required here")


def build_api_key_exchange(signer: Signer, key_uuid: str, ciphertext: bytes, *, timestamp_s: float) -> dict[str, Any]:
    """The body that opens a session at the Challenge API."""
    signed = api_signed_text(timestamp_s, signer.ss58_address, key_uuid)
    return {
        "encrypted_symmetric_key": base64.b64encode(ciphertext).decode("ascii"),
        "key_uuid": key_uuid,
        "timestamp": timestamp_s,
        "signature": signer.sign(signed).hex(),
        "validator_hotkey_ss58": signer.ss58_address,
    }


def parse_api_key_exchange(body: bytes) -> KeyExchange:
    """The body the Challenge API receives. Types and sizes are checked, the signature is not. Raises WireError."""
    fields = Fields(decode_object(body, "key exchange"), "key exchange")
    hotkey = parse_hotkey(fields.text("validator_hotkey_ss58", _MAX_NAME_CHARS))
    timestamp_s = fields.number("timestamp")
    key_uuid = parse_token(fields, "key_uuid")
    return KeyExchange(
        hotkey=hotkey,
        key_uuid=key_uuid,
        ciphertext=decode_base64(
            fields.text("encrypted_symmetric_key", 4096), CIPHERTEXT_BYTES, "encrypted_symmetric_key"
        ),
        timestamp_s=timestamp_s,
        once=key_uuid,
        message=api_signed_text(timestamp_s, hotkey, key_uuid),
        signature=decode_hex(fields.text("signature", _MAX_NAME_CHARS), SIGNATURE_BYTES, "signature"),
    )


def parse_prefixed_signature(text: str) -> bytes:
    """A signature as "0x" and 128 hexadecimal digits; the prefix is mandatory. Raises WireError."""
    if not text.startswith("0x"):
        raise WireError(f'signature {text[:16]!r} does not start with "0x"')
    return decode_hex(text[2:], SIGNATURE_BYTES, "signature")


def parse_public_key(body: bytes) -> str:
    """The PEM in `{"public_key": PEM}`. Raises WireError."""
    return Fields(decode_object(body, "public key"), "public key").text("public_key", 4096)


def parse_exchange_success(body: bytes) -> bool:
    """Whether a key exchange was accepted, by a truthy `success`. Raises WireError if it is no object."""
    return Fields(decode_object(body, "key exchange answer"), "key exchange answer").truthy("success")


def build_challenge(challenge: Challenge) -> dict[str, Any]:
    """The plaintext a miner is sent. The id is not: a miner cannot tell which challenge it answers."""
    created_at = challenge.received_at.astimezone(UTC).replace(tzinfo=None)
    payload: dict[str, Any] = {
        "prompt": challenge.prompt,
        "messages": _listed(challenge.messages),
        "tools": _listed(challenge.tools),
        "tool_choice": challenge.tool_choice,
        "model": challenge.model,
        "max_tokens": challenge.max_tokens,
        "temperature": challenge.temperature,
        "top_p": challenge.top_p,
        "correlation_id": challenge.correlation_id,
        "created_at": created_at.isoformat(),
    }
    if challenge.timing_data is not None:
        payload["metadata"] = {"timing_data": dict(challenge.timing_data)}
    return payload


def parse_challenge(plaintext: bytes) -> ChallengeRequest:
    """The plaintext as a miner reads it. Raises WireError, also when there is nothing to answer."""
    fields = Fields(decode_object(plaintext, "challenge"), "challenge")
    prompt = _last_user_message(fields.optional_objects("messages")) or fields.optional_text("prompt", MAX_TEXT_CHARS)
    if not prompt:
        raise WireError("challenge: neither prompt nor messages says what to answer")
    if "max_tokens" not in fields.values:
        raise WireError("challenge: max_tokens is missing")
    return ChallengeRequest(
        prompt=prompt,
        max_tokens=fields.count("max_tokens", _MAX_TOKENS),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        model=fields.optional_text("model", _MAX_NAME_CHARS),
        tools=fields.optional_objects("tools"),
        correlation_id=fields.optional_text("correlation_id", _MAX_NAME_CHARS),
    )


def build_answer(answer: Answer, *, response_time_ms: int) -> dict[str, Any]:
    """The plaintext a miner sends back."""
    return {
        "response_text": answer.text,
        "response_time_ms": response_time_ms,
        "tool_calls": _listed(answer.tool_calls),
        "finish_reason": answer.finish_reason,
        "usage": usage_dict(answer.usage),
    }


def parse_answer(plaintext: bytes) -> Answer:
    """The plaintext a miner sent. `response_text` must be there and be a string. Raises WireError.

    What accompanies it counts as missing when it is not of its form: an answer is not lost for it, as the network's
    existing validators do not read it.
    """
    fields = Fields(decode_object(plaintext, "answer"), "answer")
    return Answer(
        text=fields.text("response_text", MAX_TEXT_CHARS),
        finish_reason=_or(None, fields.optional_text, "finish_reason", _MAX_NAME_CHARS),
        tool_calls=_or(None, fields.optional_objects, "tool_calls"),
        usage=_or(Usage(), _usage, fields),
    )


def _usage(fields: Fields) -> Usage:
    usage = Fields(fields.optional_object("usage") or {}, "answer: usage")
    return Usage(
        prompt_tokens=usage.count("prompt_tokens", _MAX_TOKENS),
        completion_tokens=usage.count("completion_tokens", _MAX_TOKENS),
        total_tokens=usage.count("total_tokens", _MAX_TOKENS),
    )


def _or(otherwise: T, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return read(*args, **kwargs)
    except WireError:
        return otherwise


def usage_dict(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def parse_token(fields: Fields, name: str) -> str:
    """A uuid or nonce: printable and short, as it goes into headers and memory."""
    value = fields.text(name, 128)
    if not _TOKEN.fullmatch(value):
        raise WireError(f"{fields.what}: {name} {value[:32]!r} is not a uuid or nonce")
    return value


def _listed(objects: tuple[Mapping[str, Any], ...] | None) -> list[dict[str, Any]] | None:
    return None if objects is None else [dict(item) for item in objects]


def _last_user_message(messages: tuple[Mapping[str, Any], ...] | None) -> str | None:
    for message in reversed(messages or ()):
        content = message.get("content")
        if message.get("role") == "user" and isinstance(content, str):
            return content
    return None
