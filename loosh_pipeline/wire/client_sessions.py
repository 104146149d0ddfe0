"""The validator's side of sessions: which keys were agreed, with whom, and what became of them.

With miners a round's sessions are loaded before and kept after it; with the Challenge API each is kept at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from loosh_pipeline.domain import Hotkey

SESSION_TTL = timedelta(seconds=3600 - 120)
"""A miner forgets a key after an hour; ours goes earlier by more than a challenge takes."""


@dataclass(frozen=True, slots=True)
class Session:
    """A symmetric key that a peer agreed to, and the name it is known by."""

    key: bytes = field(repr=False)
    uuid: str
    expires_at: datetime


def peer_name(own_hotkey: str, miner_hotkey: Hotkey, url: str) -> str:
    """Whose session it is: a hotkey that moves, or two that share an address, do not share a key."""
    return f"{own_hotkey} {miner_hotkey} {url}"


class SessionBook:
    """The sessions of one round: what was open before it, what was opened in it, what miners no longer accept."""

    def __init__(self, known: Mapping[str, Session] | None = None) -> None:
        self._open = dict(known or {})
        self.opened: dict[str, Session] = {}
        self.refused: dict[str, set[str]] = {}
        """Uuids that a peer refused."""

    def get(self, peer: str) -> Session | None:
        return self._open.get(peer)

    def add(self, peer: str, session: Session) -> None:
        self._open[peer] = self.opened[peer] = session

    def drop(self, peer: str) -> None:
        """Forget the session of a peer that refused it, or showed to be someone else."""
        session = self._open.pop(peer, None)
        self.opened.pop(peer, None)
        if session is not None:
            self.refused.setdefault(peer, set()).add(session.uuid)


class SessionStore(Protocol):
    """Where sessions with the Challenge API are kept, by its base URL. Shared by all processes of a validator."""

    def get(self, peer: str) -> Session | None:
        """The newest session with a peer, expired or not."""
        ...

    def put(self, peer: str, session: Session) -> None: ...

    def drop(self, peer: str, uuid: str) -> None:
        """Forget this session with a peer; not one that has taken its place."""
        ...


class MemorySessions:
    """Sessions of this process alone."""

    def __init__(self) -> None:
        self._by_peer: dict[str, Session] = {}

    def get(self, peer: str) -> Session | None:
        return self._by_peer.get(peer)

    def put(self, peer: str, session: Session) -> None:
        self._by_peer[peer] = session

    def drop(self, peer: str, uuid: str) -> None:
        held = self._by_peer.get(peer)
        if held is not None and held.uuid == uuid:
            del self._by_peer[peer]
