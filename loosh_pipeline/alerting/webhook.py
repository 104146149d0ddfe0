"""Sending a message to a webhook: one attempt, within its time, and what came of it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from loosh_pipeline.wire.bodies import retry_after_s
from loosh_pipeline.wire.text import printable

ANSWERED_WITHIN_S = 10.0
SAID_BYTES = 300


@dataclass(frozen=True, slots=True)
class Sent:
    """`ok`: it was taken. Otherwise `said` is why, without the address, and `retry_after_s` how long to wait."""

    ok: bool
    said: str = ""
    retry_after_s: float = 0.0


def send(url: str, body: Mapping[str, object], within_s: float = ANSWERED_WITHIN_S) -> Sent:
    """Post a message. Does not raise for anything that the receiver or the network does."""
    try:
        return asyncio.run(_send(url, body, within_s))
    except (TimeoutError, httpx.TimeoutException):
        return Sent(False, f"the webhook did not answer within {within_s:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        # What httpx says may name the address, which is the key.
        return Sent(False, f"the webhook cannot be reached ({type(error).__name__}); see ALERT_WEBHOOK_URL")


async def _send(url: str, body: Mapping[str, object], within_s: float) -> Sent:
    secure = url.lower().startswith("https:")
    tls = httpx.create_ssl_context(trust_env=False) if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with (
        asyncio.timeout(within_s),
        httpx.AsyncClient(timeout=within_s, trust_env=False, verify=tls, follow_redirects=False) as http,
        http.stream("POST", url, json=dict(body), headers={"User-Agent": "loosh-validator"}) as reply,
    ):
        if reply.is_success:
            return Sent(True)
        said = b""
        async for part in reply.aiter_raw():
            said += part
            if len(said) >= SAID_BYTES:
                break
        wait_s = retry_after_s(reply.headers, now_s=time.time()) or 0.0
        text = printable(said[:SAID_BYTES].decode("utf-8", "replace"))
        return Sent(False, f"the webhook answered HTTP {reply.status_code}: {text}", wait_s)
