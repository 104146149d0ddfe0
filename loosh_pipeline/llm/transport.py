"""HTTP to a language model: bounded answers, no proxies of the environment, no redirects."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache

import httpx2

MAX_ANSWER_BYTES = 1024 * 1024
CONNECT_S = 5.0
SENT = ("host", "connection", "accept", "user-agent", "content-type", "content-length")
"""Headers that go out as they are. The client adds others: of this machine, and of its environment."""


class OverlongAnswer(Exception):
    """More bytes, or bytes packed otherwise, than an answer may have. Not an HTTP error: another try is of no use."""


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Passes requests on with `headers` of ours, and breaks off an answer that is longer than any we ask for."""

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, headers: Mapping[str, str], max_bytes: int = MAX_ANSWER_BYTES
    ) -> None:
        self._inner = inner
        self._headers = {**headers, "accept-encoding": "identity"}
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        kept = [(name, value) for name, value in request.headers.multi_items() if name.lower() in SENT]
        request.headers = httpx2.Headers([*kept, *self._headers.items()])
        response = await self._inner.handle_async_request(request)
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError(f"{type(self._inner).__name__} answers no asynchronous stream")
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.stream.aclose()
            raise OverlongAnswer("it packed its answer, though asked not to")
        response.stream = _Bounded(response.stream, self._max_bytes)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._inner = inner
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        async for part in self._inner:
            taken += len(part)
            if taken > self._max_bytes:
                raise OverlongAnswer(f"its answer has more than {self._max_bytes} bytes")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


def http_client(timeout_s: float, headers: Mapping[str, str], *, https: bool) -> httpx2.AsyncClient:
    """A client with connections of its own, to be closed by whoever asked for it. `headers` say who asks."""
    transport = httpx2.AsyncHTTPTransport(verify=_certificates() if https else _nobody(), trust_env=False)
    return httpx2.AsyncClient(
        transport=BoundedTransport(transport, headers),
        timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
        follow_redirects=False,
        trust_env=False,
    )


@lru_cache(maxsize=1)
def _certificates() -> ssl.SSLContext:
    """The certificates that this machine trusts, read once in a process."""
    return httpx2.create_ssl_context(trust_env=False)


@lru_cache(maxsize=1)
def _nobody() -> ssl.SSLContext:
    """Loading root certificates takes long; where no TLS is spoken, nobody is trusted."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
