"""How the Challenge API pushes challenges: the third dialect of the handshake, in which the validator is the server.

    ==================  ==================================
                        Challenge API → validator
    ==================  ==================================
    key coding          standard base64
    uuid field          key_uuid
    hotkey field        hotkey_ss58
    signed text         {timestamp}.{hotkey}.{key_uuid}
    signature           128 hexadecimal digits, with or without "0x"
    ==================  ==================================

Today's network checks no signature here, so what its senders sign is not known for certain: the text is that of the
opposite direction. An empty signature is none. Neither recipient nor key is in that text: whoever gets hold of an
exchange before its receiver can open a session of its own with it. `binding_signature` is an addition that ties both,
which receivers that do not know it ignore.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.codec import Fields, decode_base64, decode_hex, decode_object
from loosh_pipeline.wire.crypto import CIPHERTEXT_BYTES, SIGNATURE_BYTES, Signer, parse_hotkey, verify_signature
from loosh_pipeline.wire.messages import KeyExchange, api_signed_text, binding_text, parse_token

MAX_EXCHANGE_BYTES = 16 * 1024
"""A key exchange has about 700 bytes."""

_MAX_SIGNATURE_CHARS = 256
_MAX_CIPHERTEXT_CHARS = 4096


def build_push_key_exchange(
    signer: Signer | None,
    key_uuid: str,
    ciphertext: bytes,
    *,
    timestamp_s: float,
    hotkey: str | None = None,
    recipient: str | None = None,
) -> dict[str, Any]:
    """The body that opens a session at a validator; without a signer unsigned, for the `hotkey` that is named.

    It is bound to the `recipient`'s hotkey where that is known.
    """
    name = signer.ss58_address if signer is not None else hotkey
    if name is None:
        raise ValueError("an unsigned key exchange names a hotkey")
    signed = api_signed_text(timestamp_s, name, key_uuid)
    body = {
        "encrypted_symmetric_key": base64.b64encode(ciphertext).decode("ascii"),
        "key_uuid": key_uuid,
        "timestamp": timestamp_s,
        "signature": "" if signer is None else signer.sign(signed).hex(),
        "hotkey_ss58": name,
    }
    if signer is not None and recipient is not None:
        body["binding_signature"] = "0x" + signer.sign(binding_text(signed, recipient, ciphertext)).hex()
    return body


def parse_push_key_exchange(body: bytes) -> KeyExchange:
    """The body a validator receives; `signature` is empty when there is none.

    Types and sizes are checked, the signature is not. Raises WireError; CryptoError for a hotkey that cannot be one.
    """
    fields = Fields(decode_object(body, "key exchange"), "key exchange")
    hotkey = parse_hotkey(fields.text("hotkey_ss58", 64))
    timestamp_s = fields.number("timestamp")
    key_uuid = parse_token(fields, "key_uuid")
    message = api_signed_text(timestamp_s, hotkey, key_uuid)
    written = json.loads(body, parse_int=str, parse_float=str)["timestamp"]  # understood above, as a number
    literal = f"{written}.{hotkey}.{key_uuid}".encode()
    binding = fields.optional_text("binding_signature", _MAX_SIGNATURE_CHARS)
    return KeyExchange(
        hotkey=hotkey,
        key_uuid=key_uuid,
        ciphertext=decode_base64(
            fields.text("encrypted_symmetric_key", _MAX_CIPHERTEXT_CHARS), CIPHERTEXT_BYTES, "encrypted_symmetric_key"
        ),
        timestamp_s=timestamp_s,
        once="exchange:" + hashlib.sha256(message).hexdigest(),
        message=message,
        signature=_signature(fields.text("signature", _MAX_SIGNATURE_CHARS)),
        binding=_signature(binding) if binding else None,
        literal=literal if literal != message else None,
    )


def verify_push_exchange(exchange: KeyExchange) -> None:
    """Check the signature: over the text with Python's form of the time, or with the one that was sent.

    Raises CryptoError.
    """
    try:
        verify_signature(exchange.message, exchange.signature, exchange.hotkey)
    except CryptoError:
        if exchange.literal is None:
            raise
        verify_signature(exchange.literal, exchange.signature, exchange.hotkey)


def _signature(text: str) -> bytes:
    """The bytes of a signature; what cannot be one is kept as it is, as a signature that is wrong."""
    try:
        return decode_hex(text.removeprefix("0x"), SIGNATURE_BYTES, "signature") if text else b""
    except WireError:
        return text.encode()
