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
CREDENTIALS = frozenset({b"x-hotkey", b"x-nonce", b"x-signature", b"x-api-key", b"authorization"})
UNKNOWN = "unknown"
MAX_CHARS = 255
"""No address or name is longer; what strangers send is remembered in caches."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`address` is what requests are counted by: an IPv4 address, or the /64 network of an IPv6 one.

    `local` is a program on this machine: a loopback peer, nothing forwarded, and no web page that a browser here
    shows. A server that trusts forwarding headers may have put the address there, so `forwarded` is counted apart.
    `presents` says that there is some credential, right or wrong; `media_type` is of the body, without parameters.
    """

    address: str
    local: bool
    forwarded: bool = False
    presents: bool = False
    media_type: str = ""


def caller_of(scope: Scope) -> Caller:
    """The caller of an ASGI request; a header can take the trust in loopback away, and nothing can give it."""
    client = scope.get("client")
    address, loopback = _peer(str(client[0])[:MAX_CHARS]) if client else (UNKNOWN, False)
    forwarded = foreign = presents = False
    media_type = b""
    for name, value in scope["headers"]:
        if name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIX):
            forwarded = True
        elif name in CREDENTIALS:
            presents = True
        elif name == b"content-type":
            media_type = value[:MAX_CHARS]
        elif name == b"host":
            foreign = foreign or _may_be_rebound(value[:MAX_CHARS].decode("latin-1"))
        elif name == b"origin":
            foreign = foreign or not _is_of_this_machine(value[:MAX_CHARS].decode("latin-1"))
    local = loopback and not forwarded and not foreign
    return Caller(address, local, forwarded, presents, _media_type(media_type))


@lru_cache(maxsize=4096)
def _peer(host: str) -> tuple[str, bool]:
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
def _may_be_rebound(host: str) -> bool:
    """Whether a `Host` is a name that a stranger's DNS could have pointed at this machine.

    An address cannot be, nor can a name without a dot, which nobody can register.
    """
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    name = name.rstrip(".").lower()
    return "." in name and not name.endswith(".localhost") and not _is_address(name)


@lru_cache(maxsize=256)
def _is_of_this_machine(origin: str) -> bool:
    """Whether a page was served from loopback, as the Dagster UI is."""
    try:
        name = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    return name == "localhost" or name.endswith(".localhost") or _peer(name)[1]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def _media_type(value: bytes) -> str:
    return value.decode("latin-1").partition(";")[0].strip().lower()
