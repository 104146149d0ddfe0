"""One look at the Challenge API: whether something answers there, whether it is one, and whether it knows us."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from loosh_pipeline.domain import Hotkey
from loosh_pipeline.errors import CryptoError, WireError
from loosh_pipeline.wire.api_calls import ACTIVE_HOTKEYS_PATH, VALIDATORS_PATH
from loosh_pipeline.wire.api_http import Reply, send
from loosh_pipeline.wire.api_session import ApiSessions
from loosh_pipeline.wire.challenge_api_client import MAX_VIEW_BYTES
from loosh_pipeline.wire.client_sessions import MemorySessions
from loosh_pipeline.wire.codec import decode_json
from loosh_pipeline.wire.crypto import Signer, load_public_key, parse_hotkey
from loosh_pipeline.wire.headers import signature_headers
from loosh_pipeline.wire.messages import PUBLIC_KEY_PATH, parse_public_key
from loosh_pipeline.wire.network_view import parse_validators
from loosh_pipeline.wire.text import printable

MOST_DIGITS = 10
"""Of an `Age`, in seconds."""


@dataclass(frozen=True, slots=True)
class ApiSeen:
    """What was found. `unreachable`, `no_api` and `refuses` say why not, where it is none; at most one is set.

    `offset_s`: how much this machine's clock is ahead of the API's, to a second or so. `listed`: whether the hotkey is
    on its list of active validators; None where that could not be told. `keys_exchanged`: None without a hotkey.
    `unresolved`: it was not asked, as its name has no address.
    """

    unreachable: str | None = None
    unresolved: bool = False
    no_api: str | None = None
    refuses: str | None = None
    offset_s: float | None = None
    latency_ms: float | None = None
    keys_exchanged: bool | None = None
    listed: bool | None = None


def look_at_api(base_url: str, signer: Signer | None, within_s: float) -> ApiSeen:
    """Ask for its public key, exchange keys, and read its lists. Raises nothing that the API can bring about."""

    async def bounded() -> ApiSeen:
        async with asyncio.timeout(within_s), _client(base_url, within_s) as http:
            return await _looked(http, base_url.rstrip("/"), signer)

    try:
        return asyncio.run(bounded())
    except (TimeoutError, httpx.TimeoutException):
        return ApiSeen(unreachable=f"did not answer within {within_s:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return ApiSeen(unreachable=f"cannot be reached ({printable(str(error)) or type(error).__name__})")
    except WireError as error:
        return ApiSeen(no_api=str(error))


def _client(base_url: str, within_s: float) -> httpx.AsyncClient:
    https = httpx.URL(base_url).scheme == "https"
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/"),
        headers={"Accept-Encoding": "identity", "User-Agent": "loosh-doctor"},
        timeout=httpx.Timeout(within_s, connect=within_s / 2),
        follow_redirects=False,
        trust_env=False,
        verify=httpx.create_ssl_context(trust_env=False) if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )


async def _looked(http: httpx.AsyncClient, peer: str, signer: Signer | None) -> ApiSeen:
    asked_s = time.perf_counter()
    reply = await send(http, "GET", PUBLIC_KEY_PATH)
    seen = ApiSeen(latency_ms=(time.perf_counter() - asked_s) * 1000, offset_s=_offset_s(reply, datetime.now(UTC)))
    if (why := _no_public_key(reply)) is not None:
        busy = reply.status in (401, 403, 429) or reply.status >= 500
        return replace(seen, refuses=why) if busy else replace(seen, no_api=why)
    if signer is None:
        return seen
    if (why := await _no_validators(http, signer)) is not None:
        return replace(seen, no_api=why)
    try:
        await ApiSessions(peer, signer, MemorySessions(), time.time).current(http)
    except WireError as error:
        return replace(seen, keys_exchanged=False, refuses=str(error))
    return replace(seen, keys_exchanged=True, listed=await _listed(http, signer))


def _no_public_key(reply: Reply) -> str | None:
    """Why an answer holds no public key of a Challenge API."""
    said = f"GET {PUBLIC_KEY_PATH} was answered with {reply.said()}"
    if 300 <= reply.status < 400:
        return f"{said}; it leads to {printable(reply.headers.get('location', 'nowhere'))}"
    if reply.status != 200:
        return said
    kind = reply.headers.get("content-type", "no type").split(";")[0]
    try:
        load_public_key(parse_public_key(reply.body))
    except (WireError, CryptoError):
        return f"{said} ({printable(kind)}), which holds no public key"
    return None


async def _no_validators(http: httpx.AsyncClient, signer: Signer) -> str | None:
    """Why it does not say who validates, where that shows that it is none: validators have public keys as well."""
    reply = await send(http, "GET", VALIDATORS_PATH, None, _signed(signer), MAX_VIEW_BYTES)
    if reply.status in (404, 405):
        return f"it has a public key, but GET {VALIDATORS_PATH} was answered with {reply.said()}: is it a validator?"
    if reply.status == 200:
        try:
            parse_validators(reply.body)
        except WireError as error:
            return f"GET {VALIDATORS_PATH}: {error}"
    return None


async def _listed(http: httpx.AsyncClient, signer: Signer) -> bool | None:
    """Whether a hotkey is on the list that miners take whom they answer from; None where there is no such list."""
    reply = await send(http, "GET", ACTIVE_HOTKEYS_PATH, None, None, MAX_VIEW_BYTES)
    if reply.status != 200:
        return None
    try:
        entries = decode_json(reply.body, "active hotkeys")
    except WireError:
        return None
    if not isinstance(entries, list):
        return None
    named = [each.get("hotkey_ss58") if isinstance(each, dict) else each for each in entries]
    return any(_is(hotkey, signer.ss58_address) for hotkey in named)


def _is(named: object, own: str) -> bool:
    try:
        return isinstance(named, str) and parse_hotkey(named) == Hotkey(own)
    except CryptoError:
        return False


def _signed(signer: Signer) -> dict[str, str]:
    return signature_headers(signer, None, now_s=time.time())


def _offset_s(reply: Reply, now: datetime) -> float | None:
    """By its `Date`, which has no fractions of a second, and is so old where a cache has kept the answer (`Age`)."""
    try:
        told = parsedate_to_datetime(reply.headers.get("date", ""))
    except ValueError:
        return None
    if told.tzinfo is None:
        return None
    age = reply.headers.get("age", "").strip()
    return (now - told).total_seconds() - 0.5 - (int(age) if age.isdecimal() and len(age) < MOST_DIGITS else 0)
