"""Whether this machine's clock is right: signatures are refused otherwise, and commits are sealed for a wrong time."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Literal

from loosh_pipeline.chain.look import NodeSeen
from loosh_pipeline.chain.reads import AHEAD_S
from loosh_pipeline.doctor.finding import Finding, look, ok, wrong

BY_NTP = "set it by NTP: `timedatectl set-ntp true`, or install chrony; in a container, that of its host"
TOLERATED_S = 30.0
"""Peers refuse what is signed a minute from their clock."""
NOTICED_S = 5.0
_TIME_ERROR = 5
"""What `adjtimex` returns of a clock that nobody keeps right."""
_TIMEX_BYTES = 512
"""More than the kernel's structure has; all zero: only asked."""

Kept = Literal["kept", "not kept", "unknown"]


def clock(
    nodes: Sequence[NodeSeen], api_offset_s: float | None, stale_after_s: float, kept: Kept, devnet: bool = False
) -> Finding:
    """Judged by who else has a clock. A block is some seconds old when it is right, and much older on a dead chain,
    of which nothing follows where the system says that somebody keeps the clock.

    `kept`: by somebody like NTP; a subnet on this machine can do without, as nobody has another clock.
    """
    block_age_s = _freshest(nodes)
    if api_offset_s is not None and abs(api_offset_s) > TOLERATED_S:
        if block_age_s is not None and abs(block_age_s) < abs(block_age_s - api_offset_s):
            return _api_is_off(api_offset_s, block_age_s)
        by = "the Challenge API's"
        if block_age_s is not None and _agree(api_offset_s, block_age_s, stale_after_s):
            by += " and the newest block"
        return wrong("clock", f"{_apart(api_offset_s)} by {by}", BY_NTP)
    if block_age_s is not None and block_age_s < -AHEAD_S:
        return wrong("clock", f"{_apart(block_age_s)} by the newest block", BY_NTP)
    if block_age_s is not None and block_age_s > stale_after_s and api_offset_s is None and kept != "kept":
        said = f"{_apart(block_age_s)} by the newest block, and nobody else can be asked"
        todo = f"compare `date -u` with a watch: if it is wrong, {BY_NTP}; else the chain stands still"
        return wrong("clock", said, todo)
    return _right(api_offset_s, block_age_s, "unknown" if devnet else kept)


def _api_is_off(api_offset_s: float, block_age_s: float) -> Finding:
    """The newest block is nearer to this clock than to the API's."""
    how = "behind" if api_offset_s > 0 else "ahead"
    said = f"the Challenge API's clock is {abs(api_offset_s):,.0f} s {how}; the newest block agrees with this machine's"
    return look("clock", f"{said} ({block_age_s:.0f} s old)", "tell its operator: it may refuse what we sign")


def _right(api_offset_s: float | None, block_age_s: float | None, kept: Kept) -> Finding:
    """Nothing speaks against it; what it was compared with, and whether somebody keeps it so."""
    by = [f"{api_offset_s:+.0f} s by the Challenge API"] if api_offset_s is not None else []
    by += [f"the newest block is {block_age_s:.0f} s old"] if block_age_s is not None else []
    said = ", ".join(by) or "there is nothing to compare it with"
    if api_offset_s is not None and abs(api_offset_s) > NOTICED_S:
        return look("clock", said, BY_NTP)
    if kept == "not kept":
        return look("clock", f"{said}; the system says that it is not synchronised", BY_NTP)
    if not by and kept == "unknown":
        return look("clock", said, f"compare `date -u` with a watch; {BY_NTP}")
    return ok("clock", said + ("; synchronised" if kept == "kept" else ""))


def _freshest(nodes: Sequence[NodeSeen]) -> float | None:
    """The age of the newest block that any node knows."""
    ages = [node.age_s for node in nodes if node.age_s is not None]
    return min(ages, default=None)


def _agree(api_offset_s: float, block_age_s: float, stale_after_s: float) -> bool:
    return abs(api_offset_s - block_age_s) < stale_after_s


def _apart(ahead_s: float) -> str:
    return f"this machine's clock is {abs(ahead_s):,.0f} s {'ahead' if ahead_s > 0 else 'behind'}"


def kept_by_ntp() -> Kept:
    """Whether the kernel knows of somebody who keeps its clock right (what `timedatectl` shows)."""
    if sys.platform != "linux":
        return "unknown"
    libc = ctypes.CDLL(None, use_errno=True)
    told = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    if told < 0:
        return "unknown"
    return "not kept" if told == _TIME_ERROR else "kept"
