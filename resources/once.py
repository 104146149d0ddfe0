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

    And, where `stamp` is given, for as long as that gives an equal value for the settings: it tells what was made of a
    file from what the file holds now.

    A forked child makes its own. What it inherited it neither uses nor closes: that belongs to its parent.
    """

    def __init__(self, make: Callable[[Settings], T], stamp: Callable[[Settings], object] = lambda _: None) -> None:
        self._make = make
        self._stamp = stamp
        self._made: tuple[Settings, object, T] | None = None
        self._inherited: list[object] = []
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self, settings: Settings) -> T:
        with self._lock:
            stamp = self._stamp(settings)  # before it is made: what changes meanwhile is seen the next time
            if self._made is None or self._made[:2] != (settings, stamp):
                self._made = settings, stamp, self._make(settings)
            return self._made[2]

    def _forget(self) -> None:
        self._inherited.append(self._made)
        self._made, self._lock = None, threading.Lock()
