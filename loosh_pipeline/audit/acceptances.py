"""The chain of accepted challenges, checked: each link holds the digest of the one before, so none can be left out,
added, changed or moved unseen. Standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from loosh_pipeline.audit.canonical import FIRST_LINK, commitment_of, link_digest

if TYPE_CHECKING:
    from loosh_pipeline.audit.content import Acceptance

FIRST_SEQ = 1
LINK = re.compile(r"[0-9]{1,18}:[0-9a-f]{64}", re.ASCII)
SIGNED_LINK = re.compile(r"([0-9]{1,18}:[0-9a-f]{64}):([0-9a-f]{128})", re.ASCII)
SALT = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SHOWN_CHARS = 100
BACK_WITHIN = timedelta(minutes=5)
"""How far the time of a link may lie before that of an earlier one: clocks of several ingresses differ by a little."""


@dataclass(frozen=True, slots=True)
class Link:
    """The end of the chain at some time: `seq` challenges were accepted, and `digest` stands for all of them."""

    seq: int
    digest: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.digest}"

    @classmethod
    def read(cls, text: str) -> Link:
        """As the header of a 201 says it. Raises ValueError for anything else."""
        if LINK.fullmatch(text) is None:
            shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
            said = "it is written SEQ:DIGEST or SEQ:DIGEST:SIGNATURE, of 64 and 128 hexadecimal digits"
            raise ValueError(f"{shown!r} is no link; {said}")
        seq, _, digest = text.partition(":")
        return cls(int(seq), digest)


@dataclass(frozen=True, slots=True)
class Told:
    """A link as its sender is told it. `signature`: of the validator over `link_bytes`, empty without a wallet."""

    link: Link
    signature: str = ""

    def __str__(self) -> str:
        return f"{self.link}:{self.signature}" if self.signature else str(self.link)

    @classmethod
    def read(cls, text: str) -> Told:
        """As the header says it, signed or not. Raises ValueError for anything else."""
        found = SIGNED_LINK.fullmatch(text)
        return cls(Link.read(text)) if found is None else cls(Link.read(found[1]), found[2])


BEFORE_ALL = Link(FIRST_SEQ - 1, FIRST_LINK)
"""What the first challenge goes on from."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a chain breaks first, and how."""

    seq: int
    challenge_id: str
    reason: str

    def __str__(self) -> str:
        return f"link {self.seq} (challenge {self.challenge_id}): {self.reason}"


def next_link(before: Link, challenge_id: str, received_at: datetime, request_sha256: str, commitment: str) -> Link:
    """The link of a challenge that is accepted after another."""
    seq = before.seq + 1
    return Link(seq, link_digest(before.digest, seq, challenge_id, received_at, request_sha256, commitment))


def first_broken(acceptances: Iterable[Acceptance], before: Link | None = None) -> Broken | None:
    """Where a range of the chain breaks first; None where every link follows from the one before it.

    `before`: the link that the range goes on from. Without it the first acceptance is taken as it stands, unless it is
    the first of all: what it says of itself is then proved by nothing but the links after it.
    """
    last = before
    for each in acceptances:
        if last is None and each.seq == FIRST_SEQ:
            last = BEFORE_ALL
        if last is not None and (reason := _wrong(last, each)):
            return Broken(each.seq, each.challenge_id, reason)
        last = Link(each.seq, each.digest)
    return None


def _wrong(before: Link, each: Acceptance) -> str:
    if each.seq != before.seq + 1:
        return f"it follows link {before.seq}; {_missing(before.seq + 1, each.seq)}"
    fields = each.challenge_id, each.received_at, each.request_sha256, each.commitment
    if next_link(before, *fields).digest != each.digest:
        return "its digest is not that of its own fields and the link before it: one of them was changed"
    return otherwise_committed(each)


def otherwise_committed(each: Acceptance) -> str:
    """How what an acceptance is differs from what it was committed to be; empty for not at all."""
    kind = "a canary" if each.known else "pushed"
    if SALT.fullmatch(each.salt) is None:
        return f"it is said to be {kind}, and has no salt to show that it was committed to that"
    if commitment_of(each.salt, each.known) != each.commitment:
        return f"it is said to be {kind}, and was committed to something else when it was accepted"
    return ""


def _missing(expected: int, found: int) -> str:
    if found < expected:
        return "it stands there twice, or out of order"
    return f"link {expected} is missing" if found == expected + 1 else f"links {expected} to {found - 1} are missing"


def ends(acceptances: Sequence[Acceptance]) -> tuple[Link, Link] | None:
    """The first and the last link of a range; None for none."""
    if not acceptances:
        return None
    return tuple(Link(each.seq, each.digest) for each in (acceptances[0], acceptances[-1]))  # type: ignore[return-value]
