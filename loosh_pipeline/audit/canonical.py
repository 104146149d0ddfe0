"""One form for each value, so that whoever has the value has the digest: what is signed, chained and hashed.

JSON in ASCII, keys sorted, no spaces, numbers as Python's `repr` gives them (the shortest that comes back bit for bit).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
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


def link_digest(before: str, seq: int, challenge_id: str, received_at: datetime, request_sha256: str) -> str:
    """Of an accepted challenge in the chain of all: with the digest of the one before it, or `FIRST_LINK`."""
    return digest_of([before, seq, challenge_id, said_at(received_at), request_sha256])
