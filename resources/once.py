"""What is the same for every run of a process, made once in it: a worker executes thousands of runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from loosh_pipeline.settings import Settings

T = TypeVar("T")


class Once(Generic[T]):
    """What `make` makes of the settings, once for a process and for as long as they stay the same.

    A forked child makes its own. What it inherited it neither uses nor closes: that belongs to its parent.
    """

    def __init__(self, make: Callable[[Settings], T]) -> None:
        self._make = make
        self._made: tuple[Settings, T] | None = None
        self._inherited: list[object] = []
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self, settings: Settings) -> T:
        with self._lock:
            if self._made is None or self._made[0] != settings:
                self._made = settings, self._make(settings)
            return self._made[1]

    def _forget(self) -> None:
        self._inherited.append(self._made)
        self._made, self._lock = None, threading.Lock()
