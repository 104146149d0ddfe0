"""How much SQLite does in a call, in steps of its own machine: the same on every computer, however busy."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event


def steps(call: Callable[[], object]) -> int:
    """Steps that all databases of this process take in a call, on whichever connections."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    def watch(connection: Any, *_: Any) -> None:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_progress_handler(count, 1)

    call()  # whatever is prepared once
    event.listen(Engine, "before_cursor_execute", watch)
    try:
        call()
    finally:
        event.remove(Engine, "before_cursor_execute", watch)
    counted, taken = taken, 0
    return counted
