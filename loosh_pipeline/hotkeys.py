"""Hotkeys as texts, and what they signed."""

from __future__ import annotations

import bittensor_core

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError

SS58_FORMAT = 42
_MAX_SS58_CHARS = 64
_SR25519 = 1


def parse_hotkey(text: str) -> Hotkey:
    """`text` as a hotkey. Raises CryptoError unless it is an SS58 address of format 42."""
    if len(text) > _MAX_SS58_CHARS:
        raise CryptoError(f"hotkey has {len(text)} characters; an SS58 address has 48")
    try:
        canonical = bittensor_core.encode_ss58(bittensor_core.decode_ss58(text), SS58_FORMAT)
    except ValueError as error:
        raise CryptoError(f"hotkey {text!r} is not an SS58 address: {error}") from error
    if canonical != text:
        raise CryptoError(f"hotkey {text!r} is not of SS58 format {SS58_FORMAT}; use {canonical}")
    return Hotkey(text)


def verify_signature(message: bytes, signature: bytes, hotkey: str) -> None:
    """Return when `hotkey` signed `message` with sr25519. Raises CryptoError otherwise."""
    try:
        valid = bittensor_core.verify(message, signature, hotkey, _SR25519)
    except ValueError as error:
        raise CryptoError(f"signature of {hotkey!r} cannot be checked: {error}") from error
    if not valid:
        raise CryptoError(f"signature is not one of {hotkey} over this message")
