"""What was made last, for all who ask for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Making:
    """One that somebody makes, or waits for. `asked`: by how many."""

    lock: Lock = field(default_factory=Lock)
    asked: int = 0


class Kept(Generic[K, T]):
    """The last few that were asked for. Many who ask for the same wait for one that makes it, and for nothing else."""

    def __init__(self, most: int) -> None:
        self._most, self._lock, self._found = most, Lock(), OrderedDict[K, T]()
        self._making: dict[K, _Making] = {}

    def get(self, key: K, make: Callable[[], T]) -> T:
        """Raises what `make` raises, of which nothing is kept."""
        with self._lock:
            if key in self._found:
                return self._again(key)
            making = self._making.setdefault(key, _Making())
            making.asked += 1
        try:
            with making.lock:
                return self._made(key, make)
        finally:
            with self._lock:
                making.asked -= 1
                if not making.asked:
                    del self._making[key]

    def _made(self, key: K, make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._found:  # who was before in the line made it
                return self._again(key)
        made = make()
        with self._lock:
            self._found[key] = made
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        return made

    def _again(self, key: K) -> T:
        self._found.move_to_end(key)
        return self._found[key]
