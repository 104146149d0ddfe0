"""What a Challenge API was told, bounded."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

MAX_BATCHES = 10_000


@dataclass(frozen=True, slots=True)
class ReceivedBatch:
    """One response batch as it arrived, from which hotkey, and whether it was encrypted."""

    challenge_id: str
    validator_hotkey: str
    received_at: datetime
    payload: Mapping[str, Any]
    encrypted: bool = True


@dataclass(frozen=True, slots=True)
class ReceivedCall:
    """Anything else that was taken."""

    path: str
    hotkey: str
    payload: Any


class Batches:
    """Batches by challenge id; beyond `max_batches` the oldest is forgotten."""

    def __init__(self, max_batches: int = MAX_BATCHES) -> None:
        self._max_batches = max_batches
        self._by_challenge: OrderedDict[str, ReceivedBatch] = OrderedDict()

    def add(self, batch: ReceivedBatch) -> bool:
        """False when a batch of this challenge is there already; the first one stands."""
        if batch.challenge_id in self._by_challenge:
            return False
        self._by_challenge[batch.challenge_id] = batch
        if len(self._by_challenge) > self._max_batches:
            self._by_challenge.popitem(last=False)
        return True

    def of(self, challenge_id: str) -> ReceivedBatch | None:
        return self._by_challenge.get(challenge_id)

    def all(self) -> tuple[ReceivedBatch, ...]:
        return tuple(self._by_challenge.values())


@dataclass(slots=True)
class Record:
    """Everything that was taken.

    `clear_text_batches` counts results that came unencrypted, taken or not; `repeated_batches`, by challenge, those
    that came after the first, and `contradicting_batches` those of them that say something else.
    """

    batches: Batches = field(default_factory=Batches)
    calls: deque[ReceivedCall] = field(default_factory=lambda: deque(maxlen=MAX_BATCHES))
    clear_text_batches: int = 0
    repeated_batches: Counter[str] = field(default_factory=Counter)
    contradicting_batches: Counter[str] = field(default_factory=Counter)

    def of(self, path: str) -> list[Any]:
        """The payloads that one route took."""
        return [call.payload for call in self.calls if call.path == path]
