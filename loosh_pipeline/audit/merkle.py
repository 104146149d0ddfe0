"""One digest for a list of byte strings, such that no other list has it.

As in RFC 6962: leaves and nodes are hashed under different first bytes, and a list is split at the largest power of two
below its length, so that no leaf stands for two. The name of the part goes into every leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

LEAF, NODE, NONE = b"\x00", b"\x01", b"\x02"


def merkle_root(part: str, leaves: Sequence[bytes]) -> str:
    """The root over a part's leaves, in their order, in hexadecimal."""
    name = part.encode("ascii") + b"\0"
    if not leaves:
        return hashlib.sha256(NONE + name).hexdigest()
    return _root([hashlib.sha256(LEAF + name + leaf).digest() for leaf in leaves]).hex()


def _root(hashes: Sequence[bytes]) -> bytes:
    """Level by level, a last one without partner rising as it is: the same tree as splitting from above."""
    level = list(hashes)
    while len(level) > 1:
        paired = [hashlib.sha256(NODE + one + two).digest() for one, two in zip(level[::2], level[1::2], strict=False)]
        level = paired + level[len(paired) * 2 :]
    return level[0]
