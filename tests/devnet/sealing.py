"""Rows sealed for a round of the drand beacon as a client seals them, written from the format alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bittensor_core import Keypair, encrypt_at_round

from loosh_pipeline.devnet.chain import genesis
from tests.devnet.chain_client import VALIDATOR

ROUND = 1000
PULSE: dict[str, Any] = json.loads(
    (Path(genesis.__file__).parent / "data" / "drand_quicknet_round1000.json").read_text()
)


def payload(account: bytes, uids: Sequence[int], values: Sequence[int], version_key: int = 0) -> bytes:
    """`{hotkey: Vec<u8>, uids: Vec<u16>, values: Vec<u16>, version_key: u64}`; vectors of less than 64 elements."""
    numbers = [bytes([len(part) << 2]) + b"".join(n.to_bytes(2, "little") for n in part) for part in (uids, values)]
    return bytes([len(account) << 2]) + account + b"".join(numbers) + version_key.to_bytes(8, "little")


def sealed(
    uids: Sequence[int] = (0, 2),
    values: Sequence[int] = (100, 50),
    *,
    keypair: Keypair = VALIDATOR,
    version_key: int = 0,
    reveal_round: int = ROUND,
) -> bytes:
    """The ciphertext of a commit."""
    return seal_bytes(payload(bytes(keypair.public_key), uids, values, version_key), reveal_round)


def seal_bytes(plain: bytes, reveal_round: int = ROUND) -> bytes:
    wrapped, _ = encrypt_at_round(plain, reveal_round)  # a length of two bytes, the ciphertext, the round as u64
    return bytes(wrapped[2:-8])
