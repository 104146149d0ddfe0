"""The seal on an epoch: a root over everything that decided its weights, signed before anybody knows what is asked for.

After the seal is out, the hash of a block that lay ahead when it was made draws the rounds that must be shown whole.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from loosh_pipeline.audit.canonical import canonical
from loosh_pipeline.audit.content import Content, PartRoot, Seal
from loosh_pipeline.audit.leaves import PARTS, leaves_of
from loosh_pipeline.audit.merkle import merkle_root
from loosh_pipeline.domain import ChallengeId
from loosh_pipeline.plain import plain
from loosh_pipeline.scoring.profile import CODE_VERSION

SEAL_FORMAT = "loosh-audit-seal/1"
SAMPLE_BLOCKS = 25
"""Blocks from the seal to the one that draws, fixed by the format: 5 minutes of 12 s, enough to take the seal down."""
SEALED_WITHIN = timedelta(hours=1)
SEALED_WITHIN_BLOCKS = 300
"""From weights to their seal, at most, for a seal to be worth anything: an hour on a chain of 12 s. Whoever seals later
has had time to try."""
SAMPLE_ROUNDS = 50
"""Rounds a sample has at least, or all of fewer: who altered one in twenty is found with 92 %."""


class Signs(Protocol):
    """Whatever signs as one hotkey."""

    @property
    def ss58_address(self) -> str: ...

    def sign(self, message: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SignedSeal:
    """A seal and the sr25519 signature of its validator's hotkey over `seal_bytes`, in hexadecimal."""

    seal: Seal
    signature: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The block that drew, and how many rounds it drew. The rounds follow from these and the root."""

    block: int
    block_hash: str
    rounds: int


def seal_of(
    content: Content,
    *,
    sealed_at: datetime,
    sealed_block: int,
    release: str,
) -> Seal:
    """The seal over a content, at a block. `rounds` and `contexts` are not read: their digests are in `window`."""
    parts = part_roots(content)
    return Seal(
        format=SEAL_FORMAT,
        epoch=content.epoch,
        parts=parts,
        root=root_of(parts),
        sealed_at=sealed_at,
        sealed_block=sealed_block,
        sample_block=sealed_block + SAMPLE_BLOCKS,
        release=release,
        code_version=CODE_VERSION,
    )


def part_roots(content: Content) -> dict[str, PartRoot]:
    """The roots of all parts of a content."""
    found = leaves_of(content)
    return {name: PartRoot(merkle_root(name, found[name]), len(found[name])) for name in PARTS}


def root_of(parts: Mapping[str, PartRoot]) -> str:
    """The root over the parts' roots, by name."""
    return merkle_root("parts", [canonical([name, plain(parts[name])]) for name in sorted(parts)])


def seal_bytes(seal: Seal) -> bytes:
    """What is signed of a seal."""
    return canonical(plain(seal))


def signed(seal: Seal, signer: Signs) -> SignedSeal:
    """A seal signed by its validator. Raises ValueError for the key of another."""
    if signer.ss58_address != seal.epoch.validator:
        raise ValueError(f"the seal is of {seal.epoch.validator}, and {signer.ss58_address} would sign it")
    return SignedSeal(seal, signer.sign(seal_bytes(seal)).hex())


def drawn(root: str, block_hash: str, challenges: Iterable[ChallengeId], rounds: int) -> tuple[ChallengeId, ...]:
    """Which rounds a block draws, by challenge: so many without replacement, by a seed that nobody chooses.

    Seed = sha256(root ":" hash of the block, lower case with 0x). A partial shuffle of the sorted challenges, each
    place by 64 bits of sha256(seed, n) without bias.
    """
    left = sorted(challenges)
    numbers = _numbers(hashlib.sha256(f"{root}:{block_hash.lower()}".encode()).digest())
    count = min(rounds, len(left))
    for place in range(count):
        other = place + _below(numbers, len(left) - place)
        left[place], left[other] = left[other], left[place]
    return tuple(sorted(left[:count]))


def _numbers(seed: bytes) -> Iterator[int]:
    """Numbers of 64 bits."""
    count = 0
    while True:
        yield int.from_bytes(hashlib.sha256(seed + count.to_bytes(8, "big")).digest()[:8], "big")
        count += 1


def _below(numbers: Iterator[int], limit: int) -> int:
    """From 0 to below a limit, each as likely."""
    most = (2**64 // limit) * limit
    return next(number for number in numbers if number < most) % limit


def found_with(rounds: int, shown: int, part: float = 0.05) -> float:
    """The chance that a sample holds at least one of the rounds altered, when a part of all is, at least one."""
    altered = max(1, math.ceil(part * rounds))
    if rounds - altered < shown:  # and so with no round
        return 1.0
    missed = math.fsum(math.log1p(-altered / (rounds - i)) for i in range(shown))
    return 1.0 - math.exp(missed)
