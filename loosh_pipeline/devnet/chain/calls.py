"""Calls as the runtime executes them, and how it refuses one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loosh_pipeline.devnet.chain.state import SUBTENSOR, State

Event = dict[str, dict[str, Any]]


class DispatchFailed(Exception):
    """The runtime refused a call that was included: a named error of a pallet."""

    def __init__(self, name: str, pallet: str = SUBTENSOR) -> None:
        super().__init__(f"{pallet}.{name}")
        self.pallet = pallet
        self.name = name


@dataclass(frozen=True, slots=True)
class Call:
    """A decoded call with its signer and the block it is executed in."""

    signer: str
    block: int
    raw: bytes
    pallet: str
    function: str
    args: Mapping[str, Any]


def decode_call(state: State, signer: str, block: int, raw: bytes) -> Call:
    """Raises `ValueError` for bytes that are no call of the runtime."""
    decoded = state.runtime.decode_call(raw)
    args = {arg["name"]: arg["value"] for arg in decoded["call_args"]}
    return Call(signer, block, raw, decoded["call_module"], decoded["call_function"], args)


def require(condition: bool, error: str) -> None:
    """Raise `DispatchFailed` with this error of the subtensor pallet unless the condition holds."""
    if not condition:
        raise DispatchFailed(error)


def registered_uid(state: State, netuid: int, hotkey: str) -> int:
    uid = state.get("Uids", netuid, hotkey)
    if uid is None:
        raise DispatchFailed("HotKeyNotRegisteredInSubNet")
    return int(uid)
