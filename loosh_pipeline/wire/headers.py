"""The hotkey signature headers of calls that are not encrypted.

`X-Signature` is over `{nonce}:{hotkey}:{sha256hex(body)}`, or `{nonce}:{hotkey}` without a body, and the
nonce is unix seconds. Method, path and host are not signed, so a receiver must accept a nonce once and
only for a short time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.crypto import Signer, parse_hotkey, verify_signature
from loosh_pipeline.wire.messages import parse_prefixed_signature

HOTKEY_HEADER = "X-Hotkey"
NONCE_HEADER = "X-Nonce"
SIGNATURE_HEADER = "X-Signature"
API_KEY_HEADER = "X-API-Key"
LINK_HEADER = "X-Challenge-Link"
"""In the answer to a challenge that was accepted: its place in the chain of all of them."""

_MAX_NONCE_CHARS = 32


@dataclass(frozen=True, slots=True)
class SignedCall:
    """Who made a signed call, and the nonce that may not be seen again."""

    hotkey: Hotkey
    nonce: str


def signed_text(nonce: str, hotkey: str, body: bytes | None) -> bytes:
    """What `X-Signature` is over. An empty body counts as none."""
    parts = [nonce, hotkey]
    if body:
        parts.append(hashlib.sha256(body).hexdigest())
    return ":".join(parts).encode()


def signature_headers(signer: Signer, body: bytes | None, *, now_s: float) -> dict[str, str]:
    """Headers for a call whose body is sent byte for byte as given here."""
    nonce = repr(float(now_s))
    signature = signer.sign(signed_text(nonce, signer.ss58_address, body))
    return {
        HOTKEY_HEADER: signer.ss58_address,
        NONCE_HEADER: nonce,
        SIGNATURE_HEADER: "0x" + signature.hex(),
    }


def verify_signature_headers(
    headers: Mapping[str, str], body: bytes | None, *, now_s: float, window_s: float
) -> SignedCall:
    """Who signed a call, at most `window_s` before or after `now_s`.

    `headers` must be case-insensitive, as those of Starlette and httpx are. Whether the nonce is new is
    for the caller to ask its memory. Raises WireError (a header is missing or no number) or CryptoError.
    """
    hotkey = parse_hotkey(_header(headers, HOTKEY_HEADER))
    nonce = _header(headers, NONCE_HEADER)
    signature = parse_prefixed_signature(_header(headers, SIGNATURE_HEADER))
    age_s = now_s - _seconds(nonce)
    if abs(age_s) > window_s:
        raise CryptoError(f"{NONCE_HEADER} is {age_s:.0f} s old; sign again, within {window_s:g} s")
    verify_signature(signed_text(nonce, hotkey, body), signature, hotkey)
    return SignedCall(hotkey, nonce)


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise WireError(f"header {name} is missing")
    return value


def _seconds(nonce: str) -> float:
    try:
        seconds = float(nonce)
    except ValueError as error:
        raise WireError(f"{NONCE_HEADER} {nonce[:_MAX_NONCE_CHARS]!r} is not unix seconds") from error
    if not math.isfinite(seconds) or len(nonce) > _MAX_NONCE_CHARS:
        raise WireError(f"{NONCE_HEADER} {nonce[:_MAX_NONCE_CHARS]!r} is not unix seconds")
    return seconds
