"""The transaction pool: what waits for a block, and the refusals a node gives before it waits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from loosh_pipeline.devnet.chain.extrinsics import SignedExtrinsic

_REMEMBERED_BANS = 1024


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
        self._banned: OrderedDict[str, None] = OrderedDict()

    def check_known(self, extrinsic: SignedExtrinsic) -> None:
        """Raises `Refused` for one that was here and was dropped as invalid."""
        if extrinsic.hash in self._banned:
            raise Refused(1012, "Transaction is temporarily banned", "It was found to be invalid a while ago")

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
                self._drop(slot)
                continue
            if extrinsic.nonce == expected.setdefault(extrinsic.address, account_nonce(extrinsic.address)):
                expected[extrinsic.address] += 1
                ready.append(self._waiting.pop(slot))
        return ready

    def keep(self, valid: Callable[[SignedExtrinsic], bool]) -> None:
        """Drop what is not valid any more."""
        for slot, extrinsic in list(self._waiting.items()):
            if not valid(extrinsic):
                self._drop(slot)

    def _drop(self, slot: tuple[str, int]) -> None:
        self._banned[self._waiting.pop(slot).hash] = None
        if len(self._banned) > _REMEMBERED_BANS:
            self._banned.popitem(last=False)

    def waiting(self) -> list[SignedExtrinsic]:
        return list(self._waiting.values())
