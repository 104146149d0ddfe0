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
opposite direction. An empty signature is none.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.codec import Fields, decode_base64, decode_hex, decode_object
from loosh_pipeline.wire.crypto import CIPHERTEXT_BYTES, SIGNATURE_BYTES, Signer, parse_hotkey
from loosh_pipeline.wire.messages import KeyExchange, api_signed_text, parse_token

MAX_EXCHANGE_BYTES = 16 * 1024
"""A key exchange has about 700 bytes."""

_MAX_SIGNATURE_CHARS = 256
_MAX_CIPHERTEXT_CHARS = 4096


def build_push_key_exchange(
    signer: Signer | None, key_uuid: str, ciphertext: bytes, *, timestamp_s: float, hotkey: str | None = None
) -> dict[str, Any]:
    """The body that opens a session at a validator; without a signer unsigned, for the `hotkey` that is named."""
    name = signer.ss58_address if signer is not None else hotkey
    if name is None:
        raise ValueError("an unsigned key exchange names a hotkey")
    signed = api_signed_text(timestamp_s, name, key_uuid)
    return {
        "encrypted_symmetric_key": base64.b64encode(ciphertext).decode("ascii"),
        "key_uuid": key_uuid,
        "timestamp": timestamp_s,
        "signature": "" if signer is None else signer.sign(signed).hex(),
        "hotkey_ss58": name,
    }


def parse_push_key_exchange(body: bytes) -> KeyExchange:
    """The body a validator receives; `signature` is empty when there is none.

    Types and sizes are checked, the signature is not. Raises WireError; CryptoError for a hotkey that cannot be one.
    """
    fields = Fields(decode_object(body, "key exchange"), "key exchange")
    hotkey = parse_hotkey(fields.text("hotkey_ss58", 64))
    timestamp_s = fields.number("timestamp")
    key_uuid = parse_token(fields, "key_uuid")
    message = api_signed_text(timestamp_s, hotkey, key_uuid)
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
    )


def _signature(text: str) -> bytes:
    """The bytes of a signature; what cannot be one is kept as it is, as a signature that is wrong."""
    try:
        return decode_hex(text.removeprefix("0x"), SIGNATURE_BYTES, "signature") if text else b""
    except WireError:
        return text.encode()
