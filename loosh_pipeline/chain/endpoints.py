"""In which order the chain's endpoints are asked: as configured, those that failed lately last.

What failed is remembered in a small file, so that a dead first endpoint costs its share of the time once in a while,
not at every call; in another, which chain the first one serves, so that a fallback of another network is found out.
Addresses may hold keys of a provider, so the files name them by digest, and people are shown host and port alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

log = logging.getLogger(__name__)

ENDPOINTS_FILE = Path("chain") / "endpoints.json"
"""Where it lies in the validator's directory."""
LATELY = timedelta(minutes=10)
"""How long an endpoint that failed is asked last. Then it is tried in its place again."""
_SHORTEST_SECRET = 6
"""Parts of a URL below that, such as `ws` or `v1`, are words and no keys."""


class Endpoints:
    """The endpoints of one chain. A file that cannot be read or written costs time, never the call."""

    def __init__(self, addresses: Sequence[str], file: Path) -> None:
        self._addresses = tuple(addresses)
        self._file = file

    def in_order(self, now: datetime) -> tuple[str, ...]:
        """The configured order; after it those that failed lately, the one that failed longest ago first."""
        failed_at = self._failures()

        def rank(address: str) -> tuple[bool, datetime]:
            at = failed_at.get(digest(address))
            lately = at is not None and timedelta(0) <= now - at < LATELY
            return lately, at if lately and at is not None else datetime.min.replace(tzinfo=UTC)

        return tuple(sorted(self._addresses, key=rank))

    def failed(self, address: str, now: datetime) -> None:
        self._keep(self._failures() | {digest(address): now})

    def worked(self, address: str) -> None:
        failures = self._failures()
        if digest(address) in failures:
            self._keep({each: at for each, at in failures.items() if each != digest(address)})

    def all_failed(self) -> bool:
        """Whether each of them has failed since it last worked."""
        failures = self._failures()
        return all(digest(address) in failures for address in self._addresses)

    def serves(self, address: str, genesis_hash: str) -> None:
        """The first endpoint says by this which chain is meant; what another one serves says nothing."""
        before = self._first_serves()
        if address != self._addresses[0] or genesis_hash == before:
            return
        if before is not None:
            log.warning("%s serves another chain: block 0 is %s, and was %s", shown(address), genesis_hash, before)
        try:
            _write(self._genesis_file, genesis_hash)
        except OSError as error:
            log.warning("%s cannot be written (%s); fallbacks are not compared", self._genesis_file, error)

    def meant_by(self, address: str) -> str | None:
        """Block 0 of the chain that an endpoint must serve; None for the first, or while that never answered."""
        return None if address == self._addresses[0] else self._first_serves()

    def _first_serves(self) -> str | None:
        try:
            return self._genesis_file.read_text().strip() or None
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read (%s); fallbacks are not compared", self._genesis_file, error)
            return None

    @property
    def _genesis_file(self) -> Path:
        return self._file.with_name(f"genesis-{digest(self._addresses[0])}")

    def _failures(self) -> dict[str, datetime]:
        try:
            stored = json.loads(self._file.read_text())
            found = {str(address): datetime.fromisoformat(at) for address, at in stored.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            log.warning("%s cannot be read (%s); endpoints are asked in their configured order", self._file, error)
            return {}
        return {address: at for address, at in found.items() if at.tzinfo is not None}

    def _keep(self, failures: Mapping[str, datetime]) -> None:
        known = {digest(address) for address in self._addresses}
        text = json.dumps({each: at.isoformat() for each, at in failures.items() if each in known})
        try:
            _write(self._file, text)
        except OSError as error:
            log.warning("%s cannot be written (%s); a dead endpoint is asked again at the next call", self._file, error)


def shown(address: str) -> str:
    """An endpoint as people and tables may see it: where it is, without what its provider knows us by."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "an endpoint that is no URL"
    if not host:
        return "an endpoint without a host"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def hushed(text: str, *addresses: str) -> str:
    """What was said of endpoints, without what `shown` leaves out, in whatever form it is quoted."""
    for address in sorted(addresses, key=len, reverse=True):
        text = text.replace(address, shown(address))
    pieces = {piece for address in addresses for piece in _pieces(address)}
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, "…")
    return text


def _pieces(address: str) -> Iterator[str]:
    """What may be a key, as it stands in the address and as it is meant."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    words = re.split(r"[/?&=;]", f"{parts.path}?{parts.query}")
    for word in (parts.username or "", parts.password or "", *words):
        yield from (form for form in (word, unquote(word)) if len(form) >= _SHORTEST_SECRET)


def _write(file: Path, text: str) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(text)
    temporary.replace(file)


def digest(address: str) -> str:
    """What stands for an endpoint in files."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]
