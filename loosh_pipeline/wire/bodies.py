"""Reading HTTP bodies of strangers: as sent, and never more than a limit."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx

from loosh_pipeline.errors import WireError


class BodyTooLarge(WireError):
    """A body is longer than its limit; the rest of it was not read."""


async def read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """The body of a streamed response, not decompressed.

    Raises BodyTooLarge, or WireError when it is compressed though identity was asked for.
    """
    check_headers(response.headers, max_bytes)
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        _check_length(len(body), max_bytes)
    return bytes(body)


def check_headers(headers: Mapping[str, str], max_bytes: int) -> None:
    """Refuse by the headers alone what is stated to be too long, or is compressed."""
    encoding = headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise WireError(f"body is encoded with {encoding[:32]!r}; only identity is accepted")
    stated = headers.get("content-length", "")
    if stated.isdecimal() and len(stated) <= 18:
        _check_length(int(stated), max_bytes)


def retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Seconds a `Retry-After` header asks to wait, from 0 to one hour; None without a usable one."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal() and len(value) <= 9:
        return min(float(value), 3600.0)
    try:
        wait_s = parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), 3600.0)


def _check_length(length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise BodyTooLarge(f"body is longer than {max_bytes} bytes")
