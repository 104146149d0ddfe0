"""The transaction pool: what waits for a block, and the refusals a node gives before it waits."""

from __future__ import annotations

from collections.abc import Callable

from loosh_pipeline.devnet.chain.extrinsics import SignedExtrinsic


class Refused(Exception):
    """The pool refused a transaction, with the code and texts of a Substrate node."""

    def __init__(self, code: int, message: str, reason: str) -> None:
        super().__init__(f"{message}: {reason}")
        self.code = code
        self.message = message
        self.reason = reason


class TransactionPool:
    """Extrinsics by signer and nonce. Signature and era are checked by the node, before `add`."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], SignedExtrinsic] = {}

    def add(self, extrinsic: SignedExtrinsic, account_nonce: int) -> None:
        """Raises `Refused` for a nonce that is used up or already waiting."""
        if extrinsic.nonce < account_nonce:
            raise Refused(1010, "Invalid Transaction", "Transaction is outdated")
        waiting = self._waiting.setdefault((extrinsic.address, extrinsic.nonce), extrinsic)
        if waiting is extrinsic:
            return
        if waiting.raw == extrinsic.raw:
            raise Refused(1013, "Transaction Already Imported", extrinsic.hash)
        raise Refused(
            1014,
            f"Priority is too low: ({extrinsic.tip} vs {waiting.tip})",
            "The transaction has too low priority to replace another transaction already in the pool.",
        )

    def next_nonce(self, address: str, account_nonce: int) -> int:
        """The first nonce of an account that is neither used up nor waiting."""
        while (address, account_nonce) in self._waiting:
            account_nonce += 1
        return account_nonce

    def take_ready(self, head: int, account_nonce: Callable[[str], int]) -> list[SignedExtrinsic]:
        """Take what the block after `head` can hold. What has expired is dropped; a gap in nonces waits."""
        ready: list[SignedExtrinsic] = []
        expected: dict[str, int] = {}
        for slot in sorted(self._waiting, key=lambda slot: slot[1]):
            extrinsic = self._waiting[slot]
            if extrinsic.era is not None and not extrinsic.era.alive(head, head + 1):
                del self._waiting[slot]
                continue
            if extrinsic.nonce == expected.setdefault(extrinsic.address, account_nonce(extrinsic.address)):
                expected[extrinsic.address] += 1
                ready.append(self._waiting.pop(slot))
        return ready

    def waiting(self) -> list[SignedExtrinsic]:
        return list(self._waiting.values())
