"""The runtimes the stand-in speaks: real subtensor metadata, and the codec that comes with it.

Recorded metadata (`data/NOTICE.md`), three runtimes from old to new: `recorded439`, spec version 439; `recorded`, spec
version 461 as it was; `current`, the same with the storage entry bittensor 11.3 reads before setting weights, which
both others lack.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from loosh_pipeline.devnet.chain.scale import compact
from loosh_pipeline.errors import DevnetError

RuntimeName = Literal["recorded439", "recorded", "current"]
RUNTIMES: tuple[RuntimeName, ...] = ("recorded439", "recorded", "current")
"""From old to new."""

SPEC_NAME = "node-subtensor"
SPEC_VERSIONS: Mapping[RuntimeName, int] = {"recorded439": 439, "recorded": 461, "current": 461}
"""`current` answers as the runtime it was made from, unless a chain is upgraded to it: see `DevnetChain.upgrade`."""
TRANSACTION_VERSION = 1
SS58_FORMAT = 42
RAO_PER_TAO = 10**9

_V14 = (
    "subtensor_spec461_metadata_v14.scale.gz",
    "e84884bbe6d85cd302f268ceee14d628a4c2fae6901535b3ebc0f23376dec753",
)
_V15_OF_439 = (
    "subtensor_spec439_metadata_v15.scale.gz",
    "475e3dc4199ee12fe205f34c6725c404682a32455835de69b606c7a104bb381a",
)
_V15 = (
    "subtensor_spec461_plus_SubnetEpochConsensus_v15.scale.gz",
    "03258885e05e095ce2826b32a83a09913bb87a147128828fa0590dde84be3a0a",
)
_RECORDED_V15_SHA256 = "0d812a161c40efbe58ac13785cb579ab79b0bc7c4b57f5bcd27981501a8c8ca8"
# Where the added entry is: the low byte of the entry list's compact length, and the entry itself.
_LENGTH_AT, _RECORDED_LENGTH = 305_200, b"\x29"
_ENTRY_FROM, _ENTRY_TO = 325_955, 326_042


def blake2_256(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def _checked(raw: bytes, sha256: str, name: str) -> bytes:
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise DevnetError(f"{name} is altered: sha256 {found}, expected {sha256}; reinstall loosh-pipeline")
    return raw


def _packaged(name: str, sha256: str) -> bytes:
    packed = files("loosh_pipeline.devnet.chain").joinpath("data", name).read_bytes()
    return _checked(gzip.decompress(packed), sha256, name)


def _without_epoch_consensus(raw: bytes) -> bytes:
    """The metadata as recorded: the added storage entry cut out again."""
    recorded = raw[:_LENGTH_AT] + _RECORDED_LENGTH + raw[_LENGTH_AT + 1 : _ENTRY_FROM] + raw[_ENTRY_TO:]
    return _checked(recorded, _RECORDED_V15_SHA256, "recorded metadata V15")


@dataclass(frozen=True)
class StorageItem:
    """One storage item of a pallet: how its value is encoded and what an absent one means."""

    pallet: str
    name: str
    value_type: str
    default: bytes | None


class Runtime:
    """Keys, values, calls and errors by the metadata, without any state. `metadata_v14` is None where unknown."""

    def __init__(self, name: RuntimeName, spec_version: int, v15: bytes, v14: bytes | None) -> None:
        import bittensor_core

        self.name = name
        self.spec_version = spec_version
        self.metadata_v14 = v14
        self.metadata_v15 = v15
        self._codec: Any = bittensor_core.Runtime(v15, spec_version, TRANSACTION_VERSION, SS58_FORMAT)
        self._apis: Mapping[str, Mapping[str, Any]] = self._codec.runtime_api_map()
        self._errors = {
            (pallet["name"], error["name"]): (pallet["index"], error["index"])
            for pallet in self._codec.metadata_ir()["pallets"]
            for error in pallet.get("errors", ())
        }
        self._items: dict[tuple[str, str], StorageItem] = {}

    @property
    def code_hash(self) -> bytes:
        """Digest that tells this runtime from every other: by its metadata, and by a version that is not its own."""
        own = self.spec_version == SPEC_VERSIONS[self.name]
        return blake2_256(self.metadata_v15 + (b"" if own else self.spec_version.to_bytes(4, "little")))

    @property
    def opaque_metadata_v15(self) -> bytes:
        """`Option<OpaqueMetadata>` as `Metadata_metadata_at_version` answers."""
        return b"\x01" + compact(len(self.metadata_v15)) + self.metadata_v15

    def item(self, pallet: str, name: str) -> StorageItem:
        """Raises `KeyError` when the runtime has no such storage item."""
        if (pallet, name) not in self._items:
            entry = self._codec.storage_entry(pallet, name)
            default = bytes(entry.default_bytes) if entry.modifier == "Default" else None
            self._items[pallet, name] = StorageItem(pallet, name, entry.value_type, default)
        return self._items[pallet, name]

    def key(self, item: StorageItem, params: Sequence[Any]) -> bytes:
        return bytes(self._codec.storage_key(item.pallet, item.name, list(params)))

    def prefix(self, pallet: str, name: str) -> bytes:
        """What the keys of all entries of a map start with."""
        return bytes(self._codec.storage_prefix(pallet, name))

    def encode(self, type_name: str, value: Any) -> bytes:
        return bytes(self._codec.encode(type_name, value))

    def decode(self, type_name: str, raw: bytes) -> Any:
        return self._codec.decode(type_name, raw, True)

    def decode_call(self, raw: bytes) -> Mapping[str, Any]:
        """Raises `ValueError` for bytes that are no call of this runtime, trailing bytes included."""
        decoded: Mapping[str, Any] = self._codec.decode_call(raw)
        return decoded

    def compose_call(self, pallet: str, function: str, params: Mapping[str, Any]) -> bytes:
        return bytes(self._codec.compose_call(pallet, function, dict(params)))

    def encode_api_result(self, api: str, method: str, value: Any) -> bytes:
        return self.encode(self._apis[api][method]["output"], value)

    def module_error(self, pallet: str, name: str) -> dict[str, Any]:
        """The `DispatchError` of a named pallet error, as events carry it."""
        pallet_index, error_index = self._errors[pallet, name]
        return {"Module": {"index": pallet_index, "error": [error_index, 0, 0, 0]}}


@cache
def load_runtime(name: RuntimeName = "current", spec_version: int | None = None) -> Runtime:
    """The named runtime, its metadata checked against the recorded digests; it answers its own version unless told.

    Raises `DevnetError` for a name that is no runtime's, and if a file is altered.
    """
    if name not in RUNTIMES:
        raise DevnetError(f"there is no runtime {name!r}; there are {', '.join(RUNTIMES)}")
    version = SPEC_VERSIONS[name] if spec_version is None else spec_version
    if name == "recorded439":
        return Runtime(name, version, _packaged(*_V15_OF_439), None)
    v15 = _packaged(*_V15)
    return Runtime(name, version, v15 if name == "current" else _without_epoch_consensus(v15), _packaged(*_V14))
