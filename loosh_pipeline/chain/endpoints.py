"""In which order the chain's endpoints are asked: as configured, those that failed lately last.

What failed is remembered in a small file, so that a dead first endpoint costs its share of the time once in a while,
not at every call. Addresses may hold keys of a provider, so the file names them by digest.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

log = logging.getLogger(__name__)

ENDPOINTS_FILE = Path("chain") / "endpoints.json"
"""Where it lies in the validator's directory."""
LATELY = timedelta(minutes=10)
"""How long an endpoint that failed is asked last. Then it is tried in its place again."""


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
        temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text)
            temporary.replace(self._file)
        except OSError as error:
            log.warning("%s cannot be written (%s); a dead endpoint is asked again at the next call", self._file, error)


def digest(address: str) -> str:
    """What stands for an endpoint in files."""
    return hashlib.sha256(address.encode()).hexdigest()[:16]
