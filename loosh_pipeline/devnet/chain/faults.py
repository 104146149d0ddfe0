"""What can go wrong with a node and its network, one switch each, to be turned while the chain runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from enum import StrEnum

from loosh_pipeline.devnet.chain.pool import Refused
from loosh_pipeline.errors import DevnetError


class ChainFault(StrEnum):
    """One thing the node does for as long as its switch is on."""

    SILENCE = "silence"
    """It takes connections and requests, and answers none; the socket itself lives."""
    FREEZE = "freeze"
    """It stops as a halted process does, but for its page: nothing is read, pings and handshakes stay unanswered."""
    REFUSE_CONNECTIONS = "refuse_connections"
    """Open connections are cut, new ones at their handshake."""
    DROP_BEFORE_SUBMIT = "drop_before_submit"
    """The connection is cut when a transaction comes, which is lost."""
    DROP_AFTER_SUBMIT = "drop_after_submit"
    """The transaction is taken, then the connection is cut."""
    HANG_AFTER_SUBMIT = "hang_after_submit"
    """The transaction is taken, and the connection that brought it stays but hears nothing more."""
    TOO_MANY_REQUESTS = "too_many_requests"
    """HTTP 429 at the handshake."""
    REQUESTS_LIMITED = "requests_limited"
    """Requests are answered with a JSON-RPC error of a rate limiter."""
    METADATA_SKEW = "metadata_skew"
    """The metadata is that of the next older runtime. A client that keeps it by version must not have it yet."""
    REORG = "reorg"
    """The block that holds a transaction is replaced by one without it, after it was told of; it is not final yet."""
    STALE_HEAD = "stale_head"
    """No more blocks are made, everything else works."""
    SLOW_BLOCKS = "slow_blocks"
    """The clock takes `slow_factor` times as long for a block."""
    POOL_FULL = "pool_full"
    OUTDATED = "outdated"
    BANNED = "banned"
    LOW_PRIORITY = "low_priority"
    """These four refuse every transaction, with the code and text of a node: 1016, 1010, 1012, 1014."""


def chain_faults_named(names: Iterable[str]) -> tuple[ChainFault, ...]:
    """Raises DevnetError for a name that is no fault's."""
    named = tuple(names)
    if unknown := [name for name in named if name not in set(ChainFault)]:
        raise DevnetError(f"there is no chain fault {unknown[0]!r}; there are {', '.join(ChainFault)}")
    return tuple(map(ChainFault, named))


class ChainFaults:
    """The switches of one chain, safe to use from several threads.

    `reorg_depth` is how many blocks a reorg replaces, the last of which need not hold a transaction;
    `reorg_returns`: what it took out comes back into the pool, as it mostly does, instead of being lost.
    """

    def __init__(self) -> None:
        self.tune()
        self._lock = threading.Lock()
        self._left: dict[ChainFault, int | None] = {}
        self._listeners: list[Callable[[], None]] = []

    def tune(self, *, reorg_depth: int = 1, reorg_returns: bool = False, slow_factor: int = 10) -> None:
        """Set all three parameters. Raises DevnetError for a number below 1."""
        if min(reorg_depth, slow_factor) < 1:
            raise DevnetError(f"reorg_depth is {reorg_depth} and slow_factor {slow_factor}; both are 1 or more")
        self.reorg_depth, self.reorg_returns, self.slow_factor = reorg_depth, reorg_returns, slow_factor

    def switch(self, fault: ChainFault, on: bool = True, times: int | None = None) -> None:
        """Turn a fault on or off; with `times` it goes off by itself after striking so often.

        A strike is a request, a message, a connection, a transaction, a reorg, or a block that is late or not made.
        `freeze` strikes nobody in particular and is not counted.
        """
        if times is not None and times < 1:
            raise DevnetError(f"a fault cannot strike {times} times; give 1 or more, or none for as long as it is on")
        with self._lock:
            if on:
                self._left[fault] = times
            else:
                self._left.pop(fault, None)
        self._tell()

    def is_on(self, fault: ChainFault) -> bool:
        with self._lock:
            return fault in self._left

    def strikes(self, fault: ChainFault) -> bool:
        """Whether it strikes now; this counts as one time."""
        with self._lock:
            if fault not in self._left:
                return False
            left = self._left[fault]
            if left is None:
                return True
            if left > 1:
                self._left[fault] = left - 1
                return True
            del self._left[fault]
        self._tell()
        return True

    def active(self) -> tuple[ChainFault, ...]:
        """The faults that are on, in the order of their list."""
        with self._lock:
            return tuple(fault for fault in ChainFault if fault in self._left)

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change, from the thread that made it. Returns how to stop."""
        with self._lock:
            self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def refuse(self) -> None:
        """Raise `Refused` when a fault of the pool strikes."""
        for fault, (code, message, reason) in _REFUSALS.items():
            if self.strikes(fault):
                raise Refused(code, message, reason)


_REFUSALS = {
    ChainFault.POOL_FULL: (
        1016,
        "Immediately Dropped",
        "The transaction couldn't enter the pool because of the limit",
    ),
    ChainFault.OUTDATED: (1010, "Invalid Transaction", "Transaction is outdated"),
    ChainFault.BANNED: (1012, "Transaction is temporarily banned", "It was found to be invalid a while ago"),
    ChainFault.LOW_PRIORITY: (
        1014,
        "Priority is too low: (0 vs 0)",
        "The transaction has too low priority to replace another transaction already in the pool.",
    ),
}
