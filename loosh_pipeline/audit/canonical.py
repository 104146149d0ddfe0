"""One form for each value, so that whoever has the value has the digest: what is signed, chained and hashed.

JSON in ASCII, keys sorted, no spaces, numbers as Python's `repr` gives them (the shortest that comes back bit for bit).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from loosh_pipeline.plain import said_at

FIRST_LINK = "0" * 64
"""What stands in the first link in place of the digest before."""


def canonical(value: Any) -> bytes:
    """The bytes of a value that JSON can say. Raises ValueError for a number that is not finite."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest_of(value: Any) -> str:
    """sha256 of a value's canonical bytes, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def request_digest(request: Mapping[str, Any]) -> str:
    """Of a challenge's request as it is kept."""
    return digest_of(request)


def link_digest(
    before: str, seq: int, challenge_id: str, received_at: datetime, request_sha256: str, commitment: str
) -> str:
    """Of an accepted challenge in the chain of all: with the digest of the one before it, or `FIRST_LINK`."""
    return digest_of([before, seq, challenge_id, said_at(received_at), request_sha256, commitment])


def commitment_of(salt: str, known: str) -> str:
    """What an accepted challenge is, told to nobody yet: pushed, or a canary.

    `salt`: 32 hexadecimal digits at random, as there are but two. `known`: `known_digest` of a canary, else empty.
    """
    return digest_of([salt, "canary", known] if known else [salt, "pushed"])


def known_digest(salt: str, question: str, accepted: Sequence[Any]) -> str:
    """Of a canary's question (its digest) and the answers that are taken for right.

    The salt is not that of the commitment, and stays with the validator: else guesses of the answers could be tried.
    """
    return digest_of([salt, question, list(accepted)])


def link_bytes(challenge_id: str, seq: int, digest: str) -> bytes:
    """What a validator signs of a link when it tells the sender of that challenge."""
    return canonical(["X-Challenge-Link", challenge_id, seq, digest])
