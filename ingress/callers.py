"""Who is calling, by what cannot be made up: the peer of the connection, and whether somebody stands in between."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import Scope

CALLER = "loosh.caller"
"""Key of the ASGI scope under which the `Caller` of a request is kept."""

FORWARDING_HEADERS = frozenset({b"forwarded", b"x-real-ip", b"via", b"cf-connecting-ip", b"true-client-ip"})
FORWARDING_PREFIX = b"x-forwarded"
SEEN_BY_PROXY = b"x-forwarded-for"
CREDENTIALS = frozenset({b"x-hotkey", b"x-nonce", b"x-signature", b"x-api-key", b"authorization"})
UNKNOWN = "unknown"
MAX_CHARS = 255
"""No address or name is longer; what strangers send is remembered in caches."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`address` is what requests are counted by: an IPv4 address, or the /64 network of an IPv6 one.

    `local` is a program on this machine, as far as a request shows it: a loopback peer, nothing forwarded, HTTP/1.1
    to this very server, and no web page that a browser here shows. What a proxy here passes on without a trace looks
    the same. `forwarded` is counted apart too. `presents` says that there is some credential, right or wrong;
    `media_type` is of the body, without parameters.
    """

    address: str
    local: bool
    forwarded: bool = False
    presents: bool = False
    media_type: str = ""


def caller_of(scope: Scope, port: int | None = None, proxies: tuple[str, ...] = ()) -> Caller:
    """The caller of an ASGI request to the server on `port`, or on the one that the request came to.

    A header can take the trust in loopback away, and nothing can give it. Of what a proxy on this machine or one of
    `proxies` forwards, the address that it saw is what is counted by: the last of X-Forwarded-For. What
    comes through one of `proxies` is not `forwarded`: that one writes down whom it saw.
    """
    client, server = scope.get("client"), scope.get("server")
    host = str(client[0])[:MAX_CHARS] if client else UNKNOWN
    address, loopback = peer_of(host)
    foreign = scope.get("http_version") == "1.0"  # which nginx speaks to what it passes requests on to, by default
    hosts, seen, media_type = 0, b"", b""
    forwarded = presents = False
    for name, value in scope["headers"]:
        if name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIX):
            forwarded = True
            seen = value[-MAX_CHARS:] if name == SEEN_BY_PROXY else seen
        elif name in CREDENTIALS:
            presents = True
        elif name == b"content-type":
            media_type = value[:MAX_CHARS]
        elif name == b"host":
            hosts += 1
            foreign = foreign or not _is_own(value[:MAX_CHARS].decode("latin-1"), (port, server and server[1]))
        elif name == b"origin":
            foreign = foreign or not _is_of_this_machine(value[:MAX_CHARS].decode("latin-1"))
    local = loopback and not forwarded and not foreign and hosts == 1
    if seen and (loopback or is_of(host, proxies)):
        address = _last_of(seen.decode("latin-1")) or address
    return Caller(address, local, forwarded and not is_of(host, proxies), presents, _media_type(media_type))


@lru_cache(maxsize=4096)
def is_of(host: str, networks: tuple[str, ...]) -> bool:
    """Whether a peer is in one of these networks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ipaddress.ip_network(network) for network in networks)


@lru_cache(maxsize=4096)
def _last_of(forwarded_for: str) -> str | None:
    """The address that the nearest proxy saw; None when it is none, or one of this machine."""
    last = forwarded_for.rpartition(",")[2].strip()
    address, loopback = peer_of(last)
    return None if loopback or not _is_address(last) else address


@lru_cache(maxsize=4096)
def peer_of(host: str) -> tuple[str, bool]:
    """What a peer is counted by, and whether it is on this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host, False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            network = ipaddress.IPv6Network((int(address) >> 64 << 64, 64))
            return str(network), address.is_loopback
        address = address.ipv4_mapped
    return str(address), address.is_loopback


@lru_cache(maxsize=256)
def _is_own(host: str, ports: tuple[int | None, ...]) -> bool:
    """Whether a `Host` is a name of loopback, with the port of this server if it says one.

    Not one that a stranger's DNS could have pointed at this machine, nor the one of a tunnel or proxy. A name without
    a dot is nobody's: it cannot be registered.
    """
    try:
        url = urlsplit(f"//{host}")
        name, port = (url.hostname or "").rstrip("."), url.port
    except ValueError:
        return False
    return (port is None or port in ports) and (_names_loopback(name) or (name != "" and not set(name) & set(".:")))


@lru_cache(maxsize=256)
def _is_of_this_machine(origin: str) -> bool:
    """Whether a page was served from loopback, as the Dagster UI is."""
    try:
        name = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    return _names_loopback(name)


def _names_loopback(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost") or peer_of(name)[1]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def _media_type(value: bytes) -> str:
    return value.decode("latin-1").partition(";")[0].strip().lower()
