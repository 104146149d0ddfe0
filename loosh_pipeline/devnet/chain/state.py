"""Typed access to storage: values by pallet and item, encoded and decoded by the runtime's metadata."""

from __future__ import annotations

from typing import Any

from loosh_pipeline.devnet.chain.runtime import Runtime
from loosh_pipeline.devnet.chain.storage import Overlay, Reader

SUBTENSOR = "SubtensorModule"


class State:
    """Read access at one moment. An absent value is the item's default, or None where it is optional."""

    def __init__(self, runtime: Runtime, reader: Reader) -> None:
        self.runtime = runtime
        self._reader = reader

    def get(self, name: str, *params: Any, pallet: str = SUBTENSOR) -> Any:
        item = self.runtime.item(pallet, name)
        raw = self._reader.raw(self.runtime.key(item, params))
        if raw is None:
            raw = item.default
        return None if raw is None else self.runtime.decode(item.value_type, raw)

    def raw(self, name: str, *params: Any, pallet: str = SUBTENSOR) -> bytes | None:
        """The value as it is stored; None where it is absent."""
        return self._reader.raw(self.runtime.key(self.runtime.item(pallet, name), params))

    def raw_at(self, key: bytes) -> bytes | None:
        return self._reader.raw(key)

    def nonce(self, address: str) -> int:
        return int(self.get("Account", address, pallet="System")["nonce"])


class MutableState(State):
    """Read and write access, into an overlay."""

    def __init__(self, runtime: Runtime, overlay: Overlay) -> None:
        super().__init__(runtime, overlay)
        self.overlay = overlay

    def put(self, name: str, *params_and_value: Any, pallet: str = SUBTENSOR) -> None:
        """`put("Weights", netuid, uid, row)`: the last argument is the value."""
        *params, value = params_and_value
        item = self.runtime.item(pallet, name)
        self.overlay.set_raw(self.runtime.key(item, params), self.runtime.encode(item.value_type, value))

    def put_raw(self, name: str, *params_and_raw: Any, pallet: str = SUBTENSOR) -> None:
        """Store a value that is encoded already; None removes it."""
        *params, raw = params_and_raw
        self.overlay.set_raw(self.runtime.key(self.runtime.item(pallet, name), params), raw)

    def put_element(self, name: str, *params_and_element: Any) -> None:
        """`put_element("LastUpdate", netuid, uid, block)`: one element of a list that is long enough."""
        *params, position, value = params_and_element
        elements = list(self.get(name, *params))
        elements[position] = value
        self.put(name, *params, elements)

    def nested(self) -> MutableState:
        """A state above this one, for an extrinsic that may fail."""
        return MutableState(self.runtime, Overlay(self.overlay))

    def set_nonce(self, address: str, nonce: int) -> None:
        account = self.get("Account", address, pallet="System")
        self.put("Account", address, account | {"nonce": nonce}, pallet="System")
