"""Where an embedding server is reached: over HTTP, or over a unix socket on this machine (`unix:///path/to/socket`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import httpx

ON_SOCKET = "http://embedder"
"""What a request over a unix socket names as its host, which nobody looks at."""

IDLE_S, KEEP_ALIVE_S = 60.0, 90
"""How long a client of ours keeps an idle connection, and our server does: nobody writes into one being closed."""


def socket_path(url: str) -> str | None:
    """The path of the unix socket that `url` names; None when it names a host. Raises ValueError for no whole path."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return None
    path = unquote(parts.path)
    if parts.netloc or parts.query or parts.fragment or not path.strip("/"):
        raise ValueError(f"{url!r}: a unix socket is named by its whole path, such as unix:///run/loosh/embedder.sock")
    return path


def api_root(url: str) -> str:
    """The address of the OpenAI API at `url`, which may end with `/v1` or not."""
    return ON_SOCKET + "/v1" if socket_path(url) else url.rstrip("/").removesuffix("/v1") + "/v1"


def http_client(url: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> httpx.Client:
    """A client for requests to `api_root(url)`; no proxy of the environment is used."""
    import httpx  # not with the settings, which every process reads

    limits = httpx.Limits(keepalive_expiry=IDLE_S)
    transport = httpx.HTTPTransport(uds=socket_path(url), limits=limits, trust_env=False)
    return httpx.Client(timeout=timeout_s, headers=headers, trust_env=False, transport=transport)
