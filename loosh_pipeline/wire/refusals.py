"""What a miner's refusal says: in words for the record, and whether another session may help."""

from __future__ import annotations

import re

from loosh_pipeline.errors import WireError
from loosh_pipeline.wire.codec import Fields, decode_object
from loosh_pipeline.wire.connection import MAX_CONTROL_BYTES, Reply
from loosh_pipeline.wire.text import printable

_NOT_LISTED = "; is this validator on the Challenge API's active list?"
"""Miners take their allowlist from there, whatever the chain says."""
_OF_THE_CHALLENGE = re.compile(r"prompt|messages|json|max_tokens|temperature|top_p|tool", re.IGNORECASE)


def described(reply: Reply, what: str) -> str:
    """Status, wait asked for and reason of a refusal of `what`, fit for a log."""
    retry_after = reply.headers.get("retry-after")
    wait = f", retry after {printable(retry_after, 40)}" if retry_after else ""
    said = _said(reply)
    words = f": {printable(said)}" if said else ""
    return f"{what}: HTTP {reply.status}{wait}{words}{_NOT_LISTED if reply.status == 403 else ''}"


def offered_key(reply: Reply) -> str | None:
    """The public key in a refusal that asks for a new handshake; None when it offers none."""
    refusal = _fields(reply)
    try:
        return refusal.optional_text("public_key", 4096) if refusal.flag("requires_handshake") else None
    except WireError:
        return None


def may_be_the_key(reply: Reply) -> bool:
    """Whether a 400 can mean a stale key, as it does at older miners, rather than a challenge they cannot use."""
    return _fields(reply).flag("requires_handshake") or not _OF_THE_CHALLENGE.search(_said(reply))


def _said(reply: Reply) -> str:
    """The `detail` of a refusal; empty when it has none."""
    try:
        return _fields(reply).optional_text("detail", MAX_CONTROL_BYTES) or ""
    except WireError:
        return ""


def _fields(reply: Reply) -> Fields:
    """The fields of a refusal; none when it is not a JSON object."""
    try:
        return Fields(decode_object(reply.body, "refusal"), "refusal")
    except WireError:
        return Fields({}, "refusal")
